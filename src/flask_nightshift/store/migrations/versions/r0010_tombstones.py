"""Tombstones of cancelled jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table; a worker of an earlier version runs cancelled jobs."""
    op.create_table(
        "nightshift_tombstones",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("kill", sa.Integer, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
    )
    op.create_index("nightshift_tombstones_number", "nightshift_tombstones", ["number"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("nightshift_tombstones")
