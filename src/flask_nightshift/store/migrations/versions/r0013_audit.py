"""The audit of what people and programs changed, and bulk actions."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the tables; processes of an earlier version neither audit nor carry out bulk actions."""
    op.create_table(
        "nightshift_audit",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("count", sa.BigInteger),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("nightshift_audit_at", "nightshift_audit", ["at", "id"])
    op.create_table(
        "nightshift_bulk_actions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("filters", sa.Text, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("why", sa.Text),
        sa.Column("rate", sa.Float),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("last_at", _TIME),
        sa.Column("last_id", sa.Text),
        sa.Column("reached_at", _TIME),
        sa.Column("reached_id", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("acted", sa.BigInteger, nullable=False),
        sa.Column("skipped", sa.BigInteger, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_at", _TIME),
        sa.Column("worker", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("error", sa.Text),
    )
    op.create_index("nightshift_bulk_actions_state", "nightshift_bulk_actions", ["state", "due_at"])


def downgrade() -> None:
    """Drop both."""
    op.drop_table("nightshift_bulk_actions")
    op.drop_table("nightshift_audit")
