"""Update a job's row from its events, in whatever order they arrive.

The web process writes that a job was enqueued, and the worker that it started; either may be first. So each event has a
position in the job's life, a number that only grows. It consists of the run, the attempt and the state (``queued`` <
``running`` < ``retrying`` < ``succeeded``, ``dead``). A row takes an event's state only if the event's position is
later, or if it is the same and the event is newer. A row takes missing values from any event. A replay starts the next
run, so its position is after everything before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.engine import Dialect

from ..domain.events import JobDied, JobEnqueued, JobRetrying, JobReturned, JobStarted, JobSucceeded
from ..domain.job import Failure, JobRef, JobState, Reason, utcnow
from ..store import Store
from ..store.tables import MAX_RESULT, jobs
from ..store.types import shortened
from ..store.upsert import Upsert, insert
from . import attempts
from .following import Record
from .merging import changes, hides_nothing
from .told import give_rows, returned_at

_STEPS = {
    JobState.QUEUED: 0,
    JobState.RUNNING: 1,
    JobState.RETRYING: 2,
    JobState.SUCCEEDED: 3,
    JobState.DEAD: 3,
}
MAX_SAID = 4_096
"""Maximum bytes of the text with which a job reports its progress."""
_ENDED = _STEPS[JobState.SUCCEEDED]
_RETURNED = _STEPS[JobState.RUNNING]  # queued again; only the time distinguishes this from the next start
_BEFORE_ALL = -1
_FINISHED = (JobState.SUCCEEDED, JobState.DEAD)
_ALWAYS = ("id", "task", "queue", "state", "place", "run", "attempts", "enqueued_at", "request_id",
           "updated_at")  # fmt: skip
_USUAL = (
    (*_ALWAYS, "args", "kwargs", "due_at"),
    (*_ALWAYS, "result", "started_at", "finished_at", "worker"),
)
"""The columns that rows have if jobs are enqueued, and if they succeed."""
_MAX_RUN, _MAX_ATTEMPT = 2**20, 2**31 - 1  # a forged message must not overflow a column
_NEVER_STARTED = frozenset(
    {Reason.EXPIRED, Reason.REVOKED, Reason.UNKNOWN_TASK, Reason.INVALID, Reason.UNDECODABLE}
)


class Row(NamedTuple):
    """A row of the table, with its columns in their order."""

    id: str
    task: str
    queue: str
    state: str
    place: int
    run: int
    attempts: int
    max_retries: int | None = None
    args: str | None = None
    kwargs: str | None = None
    progress: dict[str, Any] | None = None
    progress_at: datetime | None = None
    result: str | None = None
    error: str | None = None
    error_message: str | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    worker: str | None = None
    request_id: str | None = None
    updated_at: datetime | None = None


def row(record: Record) -> Row:
    """The row that the event of ``record`` alone gives, for ``write``."""
    event = record.event
    match event:
        case JobSucceeded():
            return _succeeded(event, record)
        case JobEnqueued():
            return _enqueued(event)
        case JobStarted():
            return _row(event.job, JobState.RUNNING, event.at, worker=event.worker, started_at=event.at)
        case JobRetrying():
            return _row(event.job, JobState.RETRYING, event.at, worker=event.worker, due_at=event.due,
                        max_retries=_bounded(event.max_retries), **_failure(event.failure))  # fmt: skip
        case JobDied():
            return _dead(event.job, event.at, event.reason, event.failure, event.worker)
        case JobReturned():
            return _row(event.job, JobState.QUEUED, event.at, step=_RETURNED)


def _succeeded(
    event: JobSucceeded, record: Record
) -> Row:  # each job has one: by position, at half of the price
    job_id, task, queue, attempt, request_id, enqueued_at, run = event.job
    start = record.start
    returned = returned_at(start.at, event.runtime) if record.told and start else event.at
    run, attempt = min(run, _MAX_RUN), min(attempt, _MAX_ATTEMPT)
    return Row(
        job_id, task, queue, "succeeded", run << 40 | attempt << 8 | _ENDED, run, attempt,
        None, None, None, None, None, _kept(event.result), None, None,
        enqueued_at, start.at if start else None, event.at, None, event.worker, request_id, returned,
    )  # fmt: skip


def _enqueued(event: JobEnqueued) -> Row:  # likewise
    job_id, task, queue, attempt, request_id, enqueued_at, run = event.job
    run, attempt = min(run, _MAX_RUN), min(attempt, _MAX_ATTEMPT)
    return Row(
        job_id, task, queue, "queued", run << 40 | attempt << 8, run, min(event.job.attempt - 1, _MAX_ATTEMPT),
        None, event.args or None, event.kwargs or None, None, None, None, None, None,
        enqueued_at or event.at, None, None, event.due, None, request_id, event.at,
    )  # fmt: skip


def write(connection: Connection, rows: Iterable[Row], told: Iterable[Record] = ()) -> None:
    """Merge ``rows`` into the table; rows of the same job must be in the order of their events.

    ``told`` are the records among them that tell their attempts. If a row would change one that tells an attempt, the
    attempts get rows of their own first.
    """
    # all processes lock shared jobs in one order; the sort is stable, so each job's events keep theirs
    in_order = sorted(rows, key=_id)
    if in_order and _merge_unless_told(connection.dialect).run(connection, in_order) < len(in_order):
        give_rows(connection, {str(row.id) for row in in_order})
        attempts.write(connection, told)
        _merge(connection.dialect).run(connection, in_order)


def _id(row: Row) -> str:
    return str(row.id)


def record_progress(store: Store, job_id: str, progress: dict[str, Any]) -> None:
    """Store the progress that the running job reports; raises ``DatabaseUnavailable``.

    If the journal has not yet written the start of the job, this creates a row for the journal to fill.
    """
    now = utcnow()
    ref = JobRef(job_id, task="", queue="", attempt=1)
    said = {
        name: shortened(value, MAX_SAID) if isinstance(value, str) else value
        for name, value in progress.items()
    }
    stub = _row(ref, JobState.RUNNING, now, progress=said, progress_at=now)._replace(place=_BEFORE_ALL)
    values = dict(zip(jobs.c.keys(), stub, strict=True))
    with store.begin() as connection:
        statement = insert(connection.dialect.name, jobs)
        said_last = {name: statement.excluded[name] for name in ("progress", "progress_at")}
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=said_last), values)


def record_replayed(connection: Connection, ref: JobRef, at: datetime) -> None:
    """Record that the dead job ``ref`` was published again: it is queued, and its next run starts."""
    following = JobRef(
        ref.job_id, ref.task, ref.queue, 1, ref.request_id, ref.enqueued_at, run=min(ref.run, _MAX_RUN) + 1
    )
    write(connection, [_row(following, JobState.QUEUED, at, begun=0)])


def dead_row(
    ref: JobRef,
    at: datetime,
    reason: Reason,
    failure: Failure | None,
    *,
    worker: str | None = None,
    args: str | None = None,
    kwargs: str | None = None,
) -> Row:
    """The row, for ``write``, of a job in the dead-letter queue, whether or not the journal knows of it."""
    row = _dead(ref, at, reason, failure or Failure(f"{reason}"), worker)
    return row._replace(args=args or None, kwargs=kwargs or None)


def _dead(ref: JobRef, at: datetime, reason: Reason, failure: Failure, worker: str | None) -> Row:
    started = ref.attempt - (reason in _NEVER_STARTED)
    return _row(ref, JobState.DEAD, at, worker=worker, begun=started, **_failure(failure))


def _kept(result: str | None) -> str | None:
    """A result for the history. It is JSON, so a note replaces one that is too long to keep."""
    if (
        result is None
        or len(result) * 4 <= MAX_RESULT
        or (size := len(result.encode("utf-8", "replace"))) <= MAX_RESULT
    ):
        return result
    return json.dumps(f"{size:,} bytes: too long for the history; the result backend has it")


def _bounded(count: int | None) -> int | None:
    return None if count is None else min(count, _MAX_ATTEMPT)


def _failure(failure: Failure) -> dict[str, Any]:
    return {"error": failure.error, "error_message": failure.message}


def _row(
    ref: JobRef,
    state: JobState,
    at: datetime,
    step: int | None = None,
    begun: int | None = None,
    **known: Any,
) -> Row:
    run, attempt = min(ref.run, _MAX_RUN), min(ref.attempt, _MAX_ATTEMPT)
    return Row(
        ref.job_id,
        ref.task,
        ref.queue,
        state.value,
        run << 40 | attempt << 8 | (_STEPS[state] if step is None else step),
        run,
        attempt if begun is None else min(begun, _MAX_ATTEMPT),
        enqueued_at=ref.enqueued_at or (at if state is JobState.QUEUED and step is None else None),
        finished_at=at if state in _FINISHED else None,
        request_id=ref.request_id,
        updated_at=at,
        **known,
    )


@cache
def _merge(dialect: Dialect) -> Upsert:
    return Upsert(jobs, dialect, changes, usual=_USUAL)


@cache
def _merge_unless_told(dialect: Dialect) -> Upsert:
    """``_merge``, which leaves rows alone whose attempt the change would hide."""
    return Upsert(jobs, dialect, changes, hides_nothing, _USUAL)


__all__ = ["Row", "dead_row", "record_progress", "record_replayed", "row", "write"]
