"""The lock of a unique job names its queue, so that purging the queue releases it without the history."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns; locks of an earlier version leave them empty."""
    op.add_column("nightshift_locks", sa.Column("queue", sa.Text))
    op.add_column("nightshift_locks", sa.Column("due_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("nightshift_locks", "due_at")
    op.drop_column("nightshift_locks", "queue")
