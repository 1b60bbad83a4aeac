"""Workers say how many jobs of each queue they hold."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column; a worker of an earlier version leaves it empty."""
    op.add_column("nightshift_workers", sa.Column("in_hand", sa.Text))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("nightshift_workers", "in_hand")
