"""Update a job's row from its events, in whatever order they arrive.

The web process writes that a job was enqueued, and the worker that it started; either may be first. So each event has a
position in the job's life, a number that only grows. It consists of the run, the attempt and the state (``queued`` <
``running`` < ``retrying`` < ``succeeded``, ``dead``). A row takes an event's state only if the event's position is
later, or if it is the same and the event is newer. A row takes missing values from any event. A replay starts the next
run, so its position is after everything before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, update
from sqlalchemy.engine import Dialect

from ..domain.events import (
    JobCancelled,
    JobDied,
    JobEnqueued,
    JobExpired,
    JobRetrying,
    JobReturned,
    JobSkipped,
    JobStarted,
    JobSucceeded,
)
from ..domain.job import FINISHED, Failure, JobRef, JobState, Reason
from ..store import kinds, tags
from ..store.blocks import block
from ..store.kinds import kind_of
from ..store.tables import MAX_RESULT, jobs
from ..store.upsert import DIALECTS, Upsert
from . import attempts
from .following import Record
from .merging import changes, changes_by_newer, hides_nothing, is_newer
from .told import give_rows, returned_at

_STEPS = {
    JobState.QUEUED: 0,
    JobState.RUNNING: 1,
    JobState.RETRYING: 2,
    JobState.SUCCEEDED: 3,
    JobState.DEAD: 3,
    JobState.SKIPPED: 3,
    JobState.CANCELLED: 3,
    JobState.EXPIRED: 3,
}
_ENDED = _STEPS[JobState.SUCCEEDED]
_RETURNED = _STEPS[JobState.RUNNING]  # queued again; only the time distinguishes this from the next start
_BEFORE_ALL = -1
_ALWAYS = ("id", "task", "queue", "state", "place", "run", "attempts", "enqueued_at", "request_id",
           "updated_at", "kind", "block")  # fmt: skip
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
    """A row of the table, with its columns in their order; ``write`` adds the last one, ``block``."""

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
    kind: int | None = None


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
                        max_retries=_bounded(event.max_retries), args=event.args or None, kwargs=event.kwargs or None,
                        started_at=_begun_at(record), **_failure(event.failure))  # fmt: skip
        case JobDied():
            row = _dead(event.job, event.at, event.reason, event.failure, event.worker)
            return row._replace(started_at=_begun_at(record))
        case JobReturned():
            return _row(event.job, JobState.QUEUED, event.at, step=_RETURNED)
        case JobSkipped():
            why = f"{event.why} {event.by}"
            begun = event.job.attempt - (event.runtime is None)
            return _row(event.job, JobState.SKIPPED, event.at, begun=begun,
                        error="skipped", error_message=why)  # fmt: skip
        case JobCancelled():
            return _row(event.job, JobState.CANCELLED, event.at, worker=event.worker or None,
                        begun=event.job.attempt - (event.runtime is None),
                        error="cancelled", error_message=event.why)  # fmt: skip
        case JobExpired():
            return expired_row(event.job, event.at, event.worker)


def _succeeded(
    event: JobSucceeded, record: Record
) -> Row:  # each job has one: by position, at half of the price
    job_id, task, queue, attempt, request_id, enqueued_at, run, _, _ = event.job
    start = record.start
    returned = returned_at(start.at, event.runtime) if record.told and start else event.at
    run, attempt = min(run, _MAX_RUN), min(attempt, _MAX_ATTEMPT)
    return Row(
        job_id, task, queue, "succeeded", run << 40 | attempt << 8 | _ENDED, run, attempt,
        None, None, None, None, None, _kept(event.result), None, None,
        enqueued_at or (start.at if start else event.at), start.at if start else None, event.at, None, event.worker,
        request_id, returned, kind_of("succeeded", task, queue, event.worker, None),
    )  # fmt: skip


def _enqueued(event: JobEnqueued) -> Row:  # likewise
    job_id, task, queue, attempt, request_id, enqueued_at, run, _, _ = event.job
    run, attempt = min(run, _MAX_RUN), min(attempt, _MAX_ATTEMPT)
    return Row(
        job_id, task, queue, "queued", run << 40 | attempt << 8, run, min(event.job.attempt - 1, _MAX_ATTEMPT),
        None, event.args or None, event.kwargs or None, None, None, None, None, None,
        enqueued_at or event.at, None, None, event.due, None, request_id, event.at,
        kind_of("queued", task, queue, None, None),
    )  # fmt: skip


def write(
    connection: Connection,
    rows: Iterable[Row],
    told: Iterable[Record] = (),
    tagged: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Merge ``rows`` into the table; rows of the same job must be in the order of their events.

    ``told`` are the records among them that tell their attempts. If a row would change one that tells an attempt, the
    attempts get rows of their own first. ``tagged`` are the tags of jobs among them, by id.
    """
    # all processes lock shared jobs in one order; the sort is stable, so each job's events keep theirs
    in_order = sorted(rows, key=_id)
    if not in_order:
        return
    same = block(len(in_order))
    if _merge_newer(connection.dialect).run(connection, in_order, same) < len(
        in_order
    ) and _merge_unless_told(connection.dialect).run(connection, in_order, same) < len(in_order):
        give_rows(connection, {str(row.id) for row in in_order})
        attempts.write(connection, told)
        _merge(connection.dialect).run(connection, in_order, same)
    kinds.learn(connection, in_order)
    if tagged:
        tags.write(connection, tagged)


def _id(row: Row) -> str:
    return str(row.id)


def stub(ref: JobRef, at: datetime) -> tuple[dict[str, Any], dict[str, int]]:
    """A row for the running attempt ``ref`` that any event overwrites, and its positions: ``running`` and ``ended``."""
    row = _row(ref, JobState.RUNNING, at)
    places = {"running": row.place, "ended": row.place - _STEPS[JobState.RUNNING] + _ENDED}
    values = (*row._replace(place=_BEFORE_ALL, kind=None), block(1))
    return dict(zip(jobs.c.keys(), values, strict=True)), places


def record_replayed(connection: Connection, refs: Iterable[JobRef], at: datetime) -> None:
    """Record that the dead jobs ``refs`` were published again: they are queued, and their next runs start."""
    rows, tagged = [], {}
    for ref in refs:
        rows.append(_row(_next_run(ref), JobState.QUEUED, at, begun=0))
        if ref.tags:
            tagged[ref.job_id] = ref.tags
    write(connection, rows, tagged=tagged)


def record_changed(connection: Connection, ref: JobRef, changed: tuple[str, str]) -> None:
    """Record that the replayed job ``ref`` got other arguments: ``changed``, as texts."""
    mine = (jobs.c.id == ref.job_id, jobs.c.run == _next_run(ref).run)
    connection.execute(update(jobs).where(*mine).values(args=changed[0], kwargs=changed[1]))


def _next_run(ref: JobRef) -> JobRef:
    run = min(ref.run, _MAX_RUN) + 1
    return JobRef(ref.job_id, ref.task, ref.queue, 1, ref.request_id, ref.enqueued_at, run=run)


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


def expired_row(ref: JobRef, at: datetime, worker: str | None = None) -> Row:
    """The row, for ``write``, of a job that was dropped because it had expired."""
    return _row(ref, JobState.EXPIRED, at, worker=worker or None, begun=ref.attempt - 1)


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


def _begun_at(record: Record) -> datetime | None:
    """The start of an attempt that failed, for a row without its start; a start that is only derived does not count."""
    return record.start.at if record.start is not None and record.start.wait is not None else None


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
    kind = kind_of(state.value, ref.task, ref.queue, known.get("worker"), known.get("error"))
    return Row(
        ref.job_id,
        ref.task,
        ref.queue,
        state.value,
        run << 40 | attempt << 8 | (_STEPS[state] if step is None else step),
        run,
        attempt if begun is None else min(begun, _MAX_ATTEMPT),
        # a message of a plain Celery producer does not say it: lists place the job where we first heard of it
        enqueued_at=ref.enqueued_at or at,
        finished_at=at if state in FINISHED else None,
        request_id=ref.request_id,
        updated_at=at,
        kind=kind,
        **known,
    )


@lru_cache(maxsize=DIALECTS)
def _merge(dialect: Dialect) -> Upsert:
    return Upsert(jobs, dialect, changes, usual=_USUAL)


@lru_cache(maxsize=DIALECTS)
def _merge_newer(dialect: Dialect) -> Upsert:
    return Upsert(jobs, dialect, changes_by_newer, is_newer, _USUAL)


@lru_cache(maxsize=DIALECTS)
def _merge_unless_told(dialect: Dialect) -> Upsert:
    """``_merge``, which leaves rows alone whose attempt the change would hide."""
    return Upsert(jobs, dialect, changes, hides_nothing, _USUAL)


__all__ = ["Row", "dead_row", "expired_row", "record_changed", "record_replayed", "row", "stub", "write"]
