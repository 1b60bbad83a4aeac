"""What connects jobs (parent, group, chord), and the tasks that each worker knows."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_INDEXED = ("parent", "group", "chord")


def upgrade() -> None:
    """Create the table, and add the column; a worker of an earlier version leaves both empty."""
    op.create_table(
        "nightshift_relations",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("task", sa.Text),
        sa.Column("parent_id", sa.Text),
        sa.Column("root_id", sa.Text),
        sa.Column("group_id", sa.Text),
        sa.Column("chord_id", sa.Text),
        sa.Column("chord_size", sa.Integer),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    for name in _INDEXED:
        op.create_index(f"nightshift_relations_{name}", "nightshift_relations", [f"{name}_id"])
    op.add_column("nightshift_workers", sa.Column("tasks", sa.Text))


def downgrade() -> None:
    """Drop both."""
    op.drop_column("nightshift_workers", "tasks")
    op.drop_table("nightshift_relations")
