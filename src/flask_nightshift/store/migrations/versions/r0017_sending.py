"""Until when one Beat publishes the tick of an entry by Celery's producer."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column; a Beat of an earlier version claims without it."""
    op.add_column("nightshift_schedules", sa.Column("sending_until", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("nightshift_schedules", "sending_until")
