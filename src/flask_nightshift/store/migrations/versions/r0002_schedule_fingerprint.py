"""What the schedule of an entry was when it ran last."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply it."""
    op.add_column("nightshift_schedules", sa.Column("fingerprint", sa.Text))
