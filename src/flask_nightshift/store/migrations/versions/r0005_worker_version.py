"""Workers say which version of the app they run, and how much memory they need."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; a worker of an earlier version leaves them empty."""
    op.add_column("nightshift_workers", sa.Column("app_version", sa.Text))
    op.add_column("nightshift_workers", sa.Column("memory", sa.BigInteger))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("nightshift_workers", "memory")
    op.drop_column("nightshift_workers", "app_version")
