"""The tables ``nightshift_*``.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, Table

from .types import JsonText, KeyText, SafeText, UtcDateTime

MAX_RESULT = 1_048_576
"""Maximum bytes of a job's result in the history; only the result backend keeps a longer one."""

BUCKETS: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
"""Upper bounds in seconds of the histogram buckets of runtime and wait; a last bucket counts the rest."""


def bucket_columns(kind: str) -> tuple[str, ...]:
    """The ``len(BUCKETS) + 1`` names of the bucket columns of ``kind`` (``runtime`` or ``wait``)."""
    return (*(f"{kind}_to_{round(bound * 1000)}ms" for bound in BUCKETS), f"{kind}_over")


def _buckets() -> Iterator[Column[int]]:
    for kind in ("runtime", "wait"):
        for name in bucket_columns(kind):
            yield Column(name, BigInteger, nullable=False, default=0)


metadata = MetaData()

jobs = Table(
    "nightshift_jobs",
    metadata,
    Column("id", KeyText, primary_key=True),
    Column("task", KeyText, nullable=False),
    Column("queue", KeyText, nullable=False),
    Column("state", KeyText, nullable=False),
    # the job's position in its life, a number that only grows: see journal/jobs.py
    Column("place", BigInteger, nullable=False),
    Column("run", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_retries", Integer),
    Column("args", SafeText),
    Column("kwargs", SafeText),
    Column("progress", JsonText),
    Column("progress_at", UtcDateTime),
    Column("result", SafeText(MAX_RESULT)),
    Column("error", SafeText),
    Column("error_message", SafeText),
    Column("enqueued_at", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("due_at", UtcDateTime),
    Column("worker", KeyText),
    Column("request_id", SafeText),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("nightshift_jobs_state", "state", "updated_at"),
)

attempts = Table(
    "nightshift_attempts",
    metadata,
    # an attempt whose worker died starts again with the same number; only the start time distinguishes the two
    Column("job_id", KeyText, primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", UtcDateTime, primary_key=True),
    Column("worker", KeyText, nullable=False),
    Column("wait", Float),
    Column("ended_at", UtcDateTime),
    Column("outcome", SafeText),
    Column("runtime", Float),
    Column("error", SafeText),
    Column("message", SafeText),
    Column("traceback", SafeText),
    Column("due_at", UtcDateTime),
)

totals = Table(
    "nightshift_totals",
    metadata,
    Column("minute", UtcDateTime, primary_key=True),
    Column("task", KeyText, primary_key=True),
    Column("queue", KeyText, primary_key=True),
    Column("outcome", KeyText, primary_key=True),
    Column("worker", KeyText, primary_key=True),
    Column("count", BigInteger, nullable=False, default=0),
    Column("runtime_sum", Float, nullable=False, default=0.0),
    Column("wait_sum", Float, nullable=False, default=0.0),
    *_buckets(),
)

journals = Table(
    "nightshift_journals",
    metadata,
    # one row for each process that writes totals, with its last batch, so that no batch counts twice
    Column("id", KeyText, primary_key=True),
    Column("worker", KeyText, nullable=False),
    Column("batch", BigInteger, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)

dead_letters = Table(
    "nightshift_dead_letters",
    metadata,
    Column("id", KeyText, primary_key=True),
    Column("job_id", KeyText),
    Column("task", KeyText),
    Column("queue", KeyText, nullable=False),
    Column("reason", KeyText, nullable=False),
    Column("error", SafeText),
    Column("message", SafeText),
    Column("traceback", SafeText),
    Column("fingerprint", KeyText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("archived_at", UtcDateTime, nullable=False),
    Column("status", KeyText, nullable=False),
    Column("status_at", UtcDateTime, nullable=False),
    Column("worker", KeyText),
    Column("claimed_by", KeyText),  # the operator that replays it now, since status_at
    Column("body", LargeBinary, nullable=False),
    Column("content_type", KeyText, nullable=False),
    Column("content_encoding", KeyText, nullable=False),
    Column("headers", JsonText, nullable=False),
    Column("properties", JsonText, nullable=False),
    Column("attempts", JsonText, nullable=False),
    Index("nightshift_dead_letters_status", "status", "at"),
    Index("nightshift_dead_letters_job", "job_id"),
)

refused = Table(
    "nightshift_refused",
    metadata,
    # records that the database refused elsewhere, with their bytes: see refused.py
    Column("id", KeyText, primary_key=True),
    Column("kind", KeyText, nullable=False),
    Column("about", KeyText),
    Column("at", UtcDateTime, nullable=False),
    Column("worker", KeyText, nullable=False),
    Column("error", SafeText, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("nightshift_refused_at", "at"),
)

workers = Table(
    "nightshift_workers",
    metadata,
    Column("name", KeyText, primary_key=True),
    Column("hostname", KeyText, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("loop_at", UtcDateTime, nullable=False),
    Column("busy", JsonText, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("pool", SafeText, nullable=False),
    Column("queues", JsonText, nullable=False),
    Column("version", SafeText, nullable=False),
)

beats = Table(
    "nightshift_beats",
    metadata,
    Column("name", KeyText, primary_key=True),
    Column("ticked_at", UtcDateTime, nullable=False),
)

schedules = Table(
    "nightshift_schedules",
    metadata,
    Column("name", KeyText, primary_key=True),
    Column("last_run_at", UtcDateTime),
    Column("total_run_count", BigInteger, nullable=False),
    # the schedule at that run; an entry with a changed schedule starts again
    Column("fingerprint", SafeText),
)

__all__ = [
    "BUCKETS",
    "MAX_RESULT",
    "attempts",
    "beats",
    "bucket_columns",
    "dead_letters",
    "jobs",
    "journals",
    "metadata",
    "refused",
    "schedules",
    "totals",
    "workers",
]
