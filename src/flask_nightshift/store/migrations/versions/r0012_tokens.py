"""Tokens of the HTTP API, and the answers that it remembers for requests with an Idempotency-Key."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "nightshift_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("used_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("revoked_by", sa.Text),
    )
    op.create_table(
        "nightshift_replies",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.Text),
    )
    op.create_index("nightshift_replies_at", "nightshift_replies", ["at"])


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("nightshift_replies")
    op.drop_table("nightshift_tokens")
