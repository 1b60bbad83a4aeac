"""Claims: who replays a dead letter now, and what the database refused, set aside with its bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply it."""
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
    """Take it back: the claims and what was refused are lost."""
    op.drop_index("nightshift_refused_at", "nightshift_refused")
    op.drop_table("nightshift_refused")
    op.drop_column("nightshift_dead_letters", "claimed_by")
