"""Foundation: jobs, attempts, totals, journals, dead letters, workers, beats, schedules."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BOUNDS_MS = (10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 1_800_000)


def upgrade() -> None:
    """Create the tables."""
    _jobs()
    _attempts()
    _totals()
    _dead_letters()
    _processes()


def _jobs() -> None:
    op.create_table(
        "nightshift_jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("max_retries", sa.Integer),
        sa.Column("args", sa.Text),
        sa.Column("kwargs", sa.Text),
        sa.Column("progress", sa.Text),
        sa.Column("progress_at", sa.DateTime(timezone=True)),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("enqueued_at", sa.DateTime(timezone=True)),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("worker", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("nightshift_jobs_state", "nightshift_jobs", ["state", "updated_at"])


def _attempts() -> None:
    op.create_table(
        "nightshift_attempts",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("run", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("started_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("wait", sa.Float),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("outcome", sa.Text),
        sa.Column("runtime", sa.Float),
        sa.Column("error", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.Column("due_at", sa.DateTime(timezone=True)),
    )


def _totals() -> None:
    bounds = [*(f"to_{bound}ms" for bound in _BOUNDS_MS), "over"]
    op.create_table(
        "nightshift_totals",
        sa.Column("minute", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("outcome", sa.Text, primary_key=True),
        sa.Column("worker", sa.Text, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("runtime_sum", sa.Float, nullable=False),
        sa.Column("wait_sum", sa.Float, nullable=False),
        *(sa.Column(f"runtime_{bound}", sa.BigInteger, nullable=False) for bound in bounds),
        *(sa.Column(f"wait_{bound}", sa.BigInteger, nullable=False) for bound in bounds),
    )
    op.create_table(
        "nightshift_journals",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
    )


def _dead_letters() -> None:
    op.create_table(
        "nightshift_dead_letters",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text),
        sa.Column("task", sa.Text),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("traceback", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("status_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("content_encoding", sa.Text, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("attempts", sa.Text, nullable=False),
    )
    op.create_index("nightshift_dead_letters_status", "nightshift_dead_letters", ["status", "at"])
    op.create_index("nightshift_dead_letters_job", "nightshift_dead_letters", ["job_id"])


def _processes() -> None:
    op.create_table(
        "nightshift_workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("hostname", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("loop_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("busy", sa.Text, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("queues", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
    )
    op.create_table(
        "nightshift_beats",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("ticked_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "nightshift_schedules",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last_run_at", sa.DateTime(timezone=True)),
        sa.Column("total_run_count", sa.BigInteger, nullable=False),
    )
