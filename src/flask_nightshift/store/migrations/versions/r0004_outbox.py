"""The outbox, and what keeps a job from being done twice: copies, markers, locks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_TIME = sa.DateTime(timezone=True)
_TABLES = ("outbox", "copies", "markers", "locks", "facts")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "nightshift_outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("copy", sa.Integer, nullable=False),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_at", _TIME),
        sa.Column("durable", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("nightshift_outbox_state", "nightshift_outbox", ["state", "created_at"])
    op.create_index("nightshift_outbox_job", "nightshift_outbox", ["job_id"])
    op.create_table(
        "nightshift_copies",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("copy", sa.Integer, nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("nightshift_copies_at", "nightshift_copies", ["at"])
    op.create_table(
        "nightshift_markers",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("taken_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("expires_at", _TIME, nullable=False),
    )
    op.create_index("nightshift_markers_expires", "nightshift_markers", ["expires_at"])
    op.create_table(
        "nightshift_locks",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("until", sa.Text, nullable=False),
        sa.Column("taken_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
    )
    op.create_index("nightshift_locks_job", "nightshift_locks", ["job_id"])
    op.create_index("nightshift_locks_expires", "nightshift_locks", ["expires_at"])
    op.create_table(
        "nightshift_facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables, with the jobs that wait in the outbox."""
    for name in _TABLES:
        op.drop_table(f"nightshift_{name}")
