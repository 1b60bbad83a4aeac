"""Bulk actions: the step that a worker has begun, so that its jobs are counted if it dies."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the column; a worker of an earlier version goes on without it."""
    op.add_column("nightshift_bulk_actions", sa.Column("step", sa.Text()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("nightshift_bulk_actions", "step")
