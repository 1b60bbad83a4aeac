"""Claims: who replays a dead letter now; and a table for the bytes of records and letters that the database refused."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("nightshift_dead_letters", sa.Column("claimed_by", sa.Text))
    op.create_table(
        "nightshift_refused",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("about", sa.Text),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("nightshift_refused_at", "nightshift_refused", ["at"])


def downgrade() -> None:
    """Drop the column and the table, with the claims and the refused records in them."""
    op.drop_index("nightshift_refused_at", "nightshift_refused")
    op.drop_table("nightshift_refused")
    op.drop_column("nightshift_dead_letters", "claimed_by")
