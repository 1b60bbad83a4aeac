"""Jobs by their kind, their time, their tags and a part of their id."""

import sqlalchemy as sa
from alembic import op

from flask_nightshift.store.indexes import create_later

revision = "0007"
down_revision = "0006"

_TIME = sa.DateTime(timezone=True)
_JOBS, _LETTERS, _TAGS = "nightshift_jobs", "nightshift_dead_letters", "nightshift_tags"


def upgrade() -> None:
    """Create the tables and columns; ``kinds.fill`` fills the columns of old rows afterwards."""
    op.create_table(
        "nightshift_kinds",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("seen_at", _TIME, nullable=False),
    )
    op.create_table(
        _TAGS,
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("kind", sa.BigInteger, nullable=False),
        sa.Column("enqueued_at", _TIME),
    )
    op.add_column(_JOBS, sa.Column("kind", sa.BigInteger))
    op.add_column(_JOBS, sa.Column("block", sa.BigInteger))
    create_later("nightshift_jobs_kind", _JOBS, ["kind", "enqueued_at", "id"])
    create_later("nightshift_jobs_enqueued", _JOBS, ["enqueued_at", "id"])
    create_later("nightshift_jobs_tail", _JOBS, ["block", sa.text("substr(id, -4)")])
    create_later("nightshift_dead_letters_tail", _LETTERS, [sa.text("substr(id, -4)")])
    create_later("nightshift_dead_letters_job_tail", _LETTERS, [sa.text("substr(job_id, -4)")])
    create_later("nightshift_tags_tag", _TAGS, ["tag", "kind", "enqueued_at", "job_id"])


def downgrade() -> None:
    """Drop them, with the tags of all jobs."""
    for name in ("kind", "enqueued", "tail", "head"):
        op.execute(f"DROP INDEX IF EXISTS {_JOBS}_{name}")
    for name in ("tail", "job_tail", "head", "job_head"):
        op.execute(f"DROP INDEX IF EXISTS {_LETTERS}_{name}")
    op.drop_column(_JOBS, "block")
    op.drop_column(_JOBS, "kind")
    op.drop_table(_TAGS)
    op.drop_table("nightshift_kinds")
