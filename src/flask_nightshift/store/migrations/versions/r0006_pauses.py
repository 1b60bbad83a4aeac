"""Paused queues; workers say which orders they have heard."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table and the column; a worker of an earlier version leaves the column empty."""
    op.create_table(
        "nightshift_pauses",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.add_column("nightshift_workers", sa.Column("heard", sa.BigInteger))


def downgrade() -> None:
    """Drop both."""
    op.drop_column("nightshift_workers", "heard")
    op.drop_table("nightshift_pauses")
