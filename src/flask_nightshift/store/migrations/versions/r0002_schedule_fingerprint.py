"""Schedules: a fingerprint of the entry's schedule at its last run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.add_column("nightshift_schedules", sa.Column("fingerprint", sa.Text))
