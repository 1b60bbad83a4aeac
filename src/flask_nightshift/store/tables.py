"""The tables ``nightshift_*``.

A change here needs a migration in ``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, Table, text

from .types import JsonText, KeyText, SafeText, UtcDateTime

MAX_RESULT = 1_048_576
"""Maximum bytes of a job's result in the history; only the result backend keeps a longer one."""

MAX_TARGET = 4_096
"""Maximum bytes of what an action was about, of its reason, and of its error."""

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
    # its state, task, queue, worker and error as one number (kinds.py); NULL: an older version wrote the row
    Column("kind", BigInteger),
    # rows that one process wrote in a row: by these the ends of ids are indexed (ids.py)
    Column("block", BigInteger),
    Index("nightshift_jobs_state", "state", "updated_at"),
)

kinds = Table(
    "nightshift_kinds",
    metadata,
    # the kinds of jobs that the history has: see kinds.py
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("state", KeyText, nullable=False),
    Column("task", KeyText, nullable=False),
    Column("queue", KeyText, nullable=False),
    Column("worker", KeyText),
    Column("error", KeyText),
    Column("seen_at", UtcDateTime, nullable=False),
)

tags = Table(
    "nightshift_tags",
    metadata,
    # a row for each tag of a job, with what lists need of the job's row: see tags.py
    Column("job_id", KeyText, primary_key=True),
    Column("tag", KeyText, primary_key=True),
    Column("kind", BigInteger, nullable=False),
    Column("enqueued_at", UtcDateTime),
)

relations = Table(
    "nightshift_relations",
    metadata,
    # what connects jobs; a job without relations has no row, and a job that is announced only has no other row
    Column("job_id", KeyText, primary_key=True),
    Column("task", KeyText),
    Column("parent_id", KeyText),  # the job that enqueued it, or the one before it in its chain
    Column("root_id", KeyText),
    Column("group_id", KeyText),
    Column("chord_id", KeyText),  # the body of its chord
    Column("chord_size", Integer),  # of a body: for how many jobs it waits
    Column("at", UtcDateTime, nullable=False),
    Column("origin_id", KeyText),  # the job of which it is a copy
    Index("nightshift_relations_parent", "parent_id"),
    Index("nightshift_relations_origin", "origin_id"),
    Index("nightshift_relations_group", "group_id"),
    Index("nightshift_relations_chord", "chord_id"),
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
    # of what the job died (domain/fingerprint.py); place is where the error was raised, '' if that is unknown.
    # A version that does not know place leaves it NULL, and its fingerprint is another one: see causes.py
    Column("fingerprint", KeyText, nullable=False),
    Column("place", SafeText(300)),
    # the arguments of its replay, if somebody has changed them
    Column("new_args", SafeText),
    Column("new_kwargs", SafeText),
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
    Index("nightshift_dead_letters_cause", "fingerprint", "at", "status"),
    # these count without reading the letters, whose rows are long, and list a page of any status, task or reason
    Index("nightshift_dead_letters_incident", "status", "fingerprint", "at"),
    Index("nightshift_dead_letters_task", "status", "task", "at", "reason"),
    Index("nightshift_dead_letters_reason", "status", "reason", "at"),
    Index("nightshift_dead_letters_at", "at", "id"),
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
    Column("app_version", SafeText),
    Column("memory", BigInteger),
    # the number of the last order that it knows (orders.py); NULL: a version that ignores orders
    Column("heard", BigInteger),
    # {queue: jobs that it holds, running or not}; NULL from a worker of an earlier version
    Column("in_hand", JsonText),
    # {"names": […], "complete": …}: the tasks that it knows; NULL from a worker of an earlier version
    Column("tasks", JsonText),
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
    # when the last tick that enqueued a job was due
    Column("last_run_at", UtcDateTime),
    Column("total_run_count", BigInteger, nullable=False),
    # of the schedule; an entry with a changed schedule begins anew
    Column("fingerprint", SafeText),
    # each tick until then is dealt with: its job is enqueued, or it was left out
    Column("last_due_at", UtcDateTime),
    # an interval's ticks are whole intervals after it
    Column("anchor", UtcDateTime),
    Column("last_job_id", KeyText),
    Column("next_at", UtcDateTime),
    Column("paused_at", UtcDateTime),
    Column("paused_by", SafeText),
    # ticks until then are left out
    Column("skip_until", UtcDateTime),
    # until then one Beat publishes the next tick, and the others wait; it may have died meanwhile
    Column("sending_until", UtcDateTime),
    # the entry as Beat last read it, for people
    Column("task", SafeText),
    Column("queue", SafeText),
    Column("spec", SafeText),
    Column("timezone", SafeText),
)

outbox = Table(
    "nightshift_outbox",
    metadata,
    # one finished message for each job that was enqueued with a transaction and is not published yet
    Column("id", KeyText, primary_key=True),
    Column("job_id", KeyText, nullable=False),
    Column("task", KeyText, nullable=False),
    Column("queue", KeyText, nullable=False),
    Column("format", Integer, nullable=False),  # of the message; a relay leaves an unknown format alone
    Column("message", LargeBinary, nullable=False),
    Column("due_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    # how often it was published, or was about to be
    Column("copy", Integer, nullable=False),
    Column("claimed_by", KeyText),  # the relay that publishes it now, since claimed_at
    Column("claimed_at", UtcDateTime),
    # a durable job's row stays until its outcome is recorded; run is the one that may start
    Column("durable", Integer, nullable=False),
    Column("run", Integer, nullable=False),
    Column("state", KeyText, nullable=False),  # waiting or published
    Index("nightshift_outbox_state", "state", "created_at"),
    Index("nightshift_outbox_job", "job_id"),
)

copies = Table(
    "nightshift_copies",
    metadata,
    # the publish of an attempt that may start, where the broker cannot refuse a second one (RabbitMQ);
    # its row in the outbox identifies it, because a job's id may be enqueued twice. The database calls that column
    # job_id: after a renaming, workers of both versions would check their copies apart from each other for a while
    Column("job_id", KeyText, key="row", primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("copy", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("nightshift_copies_at", "at"),
)

markers = Table(
    "nightshift_markers",
    metadata,
    # what is done once: see once/
    Column("key", KeyText, primary_key=True),
    Column("job_id", KeyText),  # NULL: taken outside of a job
    Column("run", Integer, nullable=False),
    Column("taken_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("expires_at", UtcDateTime, nullable=False),
    Index("nightshift_markers_expires", "expires_at"),
)

locks = Table(
    "nightshift_locks",
    metadata,
    # the locks of unique jobs, where the broker cannot hold them (RabbitMQ)
    Column("key", KeyText, primary_key=True),
    Column("job_id", KeyText, nullable=False),
    Column("task", KeyText, nullable=False),
    Column("until", KeyText, nullable=False),  # started or done
    Column("taken_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    # where the job waits; a purge of the queue releases the lock
    Column("queue", KeyText),
    Column("due_at", UtcDateTime),
    Index("nightshift_locks_job", "job_id"),
    Index("nightshift_locks_expires", "expires_at"),
)

pauses = Table(
    "nightshift_pauses",
    metadata,
    # paused queues, where the broker cannot hold them (RabbitMQ)
    Column("queue", KeyText, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("by", SafeText, nullable=False),
    Column("reason", SafeText),
)

tombstones = Table(
    "nightshift_tombstones",
    metadata,
    # cancelled jobs that a worker has yet to meet, where the broker cannot hold them (RabbitMQ)
    Column("job_id", KeyText, primary_key=True),
    Column("number", BigInteger, nullable=False),  # of the order that cancelled it
    Column("at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("kill", Integer, nullable=False),
    Column("by", SafeText, nullable=False),
    Index("nightshift_tombstones_number", "number"),
)

tokens = Table(
    "nightshift_tokens",
    metadata,
    # who may use the HTTP API; a token itself is not stored, only its digest
    Column("id", KeyText, primary_key=True),
    Column("name", KeyText, nullable=False),
    Column("digest", KeyText, nullable=False),
    Column("scopes", JsonText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", SafeText, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("revoked_by", SafeText),
)

replies = Table(
    "nightshift_replies",
    metadata,
    # answers of the HTTP API to requests with an Idempotency-Key, so that a repeated one is not done again
    Column("token", KeyText, primary_key=True),
    Column("key", KeyText, primary_key=True),
    Column("request", KeyText, nullable=False),  # a digest of the request
    Column("at", UtcDateTime, nullable=False),
    Column("status", Integer),  # NULL: it is being done, or was interrupted
    Column("body", SafeText(MAX_RESULT)),
    Index("nightshift_replies_at", "at"),
)

facts = Table(
    "nightshift_facts",
    metadata,
    # single values about this database and the broker, such as the broker's epoch
    Column("name", KeyText, primary_key=True),
    Column("value", SafeText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)


audit = Table(
    "nightshift_audit",
    metadata,
    # what people and programs changed: see audit.py
    Column("id", KeyText, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("by", KeyText, nullable=False),
    Column("action", KeyText, nullable=False),
    Column("target", SafeText(MAX_TARGET), nullable=False),
    Column("why", SafeText(MAX_TARGET)),
    Column("count", BigInteger),
    Column("outcome", KeyText, nullable=False),
    Column("error", SafeText(MAX_TARGET)),
    Index("nightshift_audit_at", "at", "id"),
)

bulk_actions = Table(
    "nightshift_bulk_actions",
    metadata,
    # actions on all jobs or dead letters of a filter, which workers carry out: see bulk_actions.py
    Column("id", KeyText, primary_key=True),
    Column("action", KeyText, nullable=False),
    Column("filters", JsonText, nullable=False),
    Column("options", JsonText, nullable=False),
    Column("by", KeyText, nullable=False),
    Column("why", SafeText(MAX_TARGET)),
    Column("rate", Float),
    Column("total", BigInteger, nullable=False),  # as the dry run counted
    Column("last_at", UtcDateTime),  # with last_id: where the set ends
    Column("last_id", KeyText),
    Column("reached_at", UtcDateTime),  # with reached_id: how far it is
    Column("reached_id", KeyText),
    Column("state", KeyText, nullable=False),
    Column("acted", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
    Column("reasons", JsonText, nullable=False),  # why some were skipped: {reason: count}
    Column("due_at", UtcDateTime, nullable=False),  # of the next portion
    Column("claimed_by", KeyText),  # the worker that carries out a portion now, since claimed_at
    Column("claimed_at", UtcDateTime),
    Column("step", JsonText),  # that has begun and is not noted yet: see bulk_steps.py
    Column("worker", KeyText),  # of the latest portion
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("error", SafeText(MAX_TARGET)),
    Index("nightshift_bulk_actions_state", "state", "due_at"),
)


def _on(dialect: str, name: str, table: Table, *parts: str) -> None:
    """Declare an index for one kind of database; a part is the name of a column, or an expression of that database."""
    columns = [part if part in table.c else text(part) for part in parts]
    Index(name, *columns, info={DIALECT: dialect}, _table=table).ddl_if(dialect=dialect)


DIALECT = "dialect"
"""Key in the ``info`` of an index: the only kind of database that has it."""

# PostgreSQL compares text by a language's rules unless told otherwise; ids are compared by their bytes
_on("sqlite", "nightshift_jobs_kind", jobs, "kind", "enqueued_at", "id")
_on("sqlite", "nightshift_jobs_enqueued", jobs, "enqueued_at", "id")
_on("sqlite", "nightshift_jobs_tail", jobs, "block", "substr(id, -4)")
# most jobs never have a due time, and are not in this index. As text, because SQLAlchemy would import both dialects for
# its own ``where``
_DUE = "due_at", "id) WHERE (due_at IS NOT NULL"
_on("sqlite", "nightshift_jobs_due", jobs, *_DUE)
_on("postgresql", "nightshift_jobs_due", jobs, *_DUE)
_on("sqlite", "nightshift_dead_letters_tail", dead_letters, "substr(id, -4)")
_on("sqlite", "nightshift_dead_letters_job_tail", dead_letters, "substr(job_id, -4)")
_on("sqlite", "nightshift_tags_tag", tags, "tag", "kind", "enqueued_at", "job_id")
_on("postgresql", "nightshift_jobs_kind", jobs, "kind", "enqueued_at", 'id COLLATE "C"')
_on("postgresql", "nightshift_jobs_enqueued", jobs, "enqueued_at", 'id COLLATE "C"')
_on("postgresql", "nightshift_jobs_tail", jobs, "block", '"right"(id, 4)')
_on("postgresql", "nightshift_jobs_head", jobs, 'id COLLATE "C"')
_on("postgresql", "nightshift_dead_letters_head", dead_letters, 'id COLLATE "C"')
_on("postgresql", "nightshift_dead_letters_job_head", dead_letters, 'job_id COLLATE "C"')
_on("postgresql", "nightshift_dead_letters_tail", dead_letters, '"right"(id, 4)')
_on("postgresql", "nightshift_dead_letters_job_tail", dead_letters, '"right"(job_id, 4)')
_on("postgresql", "nightshift_tags_tag", tags, "tag", "kind", "enqueued_at", 'job_id COLLATE "C"')

__all__ = [
    "BUCKETS",
    "DIALECT",
    "MAX_RESULT",
    "MAX_TARGET",
    "attempts",
    "audit",
    "beats",
    "bucket_columns",
    "bulk_actions",
    "copies",
    "dead_letters",
    "facts",
    "jobs",
    "journals",
    "kinds",
    "locks",
    "markers",
    "metadata",
    "outbox",
    "pauses",
    "refused",
    "relations",
    "replies",
    "schedules",
    "tags",
    "tokens",
    "tombstones",
    "totals",
    "workers",
]
