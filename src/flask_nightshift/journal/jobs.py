"""Update a job's row from its events, in whatever order they arrive.

The web process writes that a job was enqueued, and the worker that it started; either may be first. So each event has a
position in the job's life, a number that only grows. It consists of the run, the attempt and the state (``queued`` <
``running`` < ``retrying`` < ``succeeded``, ``dead``). A row takes an event's state only if the event's position is
later, or if it is the same and the event is newer. A row takes missing values from any event. A replay starts the next
run, so its position is after everything before it.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, literal_column, null, or_
from sqlalchemy.engine import Dialect

from ..domain.events import JobDied, JobEnqueued, JobEvent, JobRetrying, JobReturned, JobStarted, JobSucceeded
from ..domain.job import Failure, JobRef, JobState, Reason, utcnow
from ..store import Store
from ..store.tables import MAX_RESULT, jobs
from ..store.types import shortened
from ..store.upsert import Upsert, insert
from .attempts import Start

_STEPS = {
    JobState.QUEUED: 0,
    JobState.RUNNING: 1,
    JobState.RETRYING: 2,
    JobState.SUCCEEDED: 3,
    JobState.DEAD: 3,
}
MAX_SAID = 4_096
"""Maximum bytes of the text with which a job reports its progress."""
_RETURNED = _STEPS[JobState.RUNNING]  # queued again; only the time distinguishes this from the next start
_BEFORE_ALL = -1
_NOTHING = dict.fromkeys(jobs.c.keys())
_MAX_RUN, _MAX_ATTEMPT = 2**20, 2**31 - 1  # a forged message must not overflow a column
_NEVER_STARTED = frozenset(
    {Reason.EXPIRED, Reason.REVOKED, Reason.UNKNOWN_TASK, Reason.INVALID, Reason.UNDECODABLE}
)


def row(event: JobEvent, start: Start | None = None) -> dict[str, Any]:
    """The row that ``event`` alone gives, for ``write``; ``start`` is the start of its attempt, if known."""
    ref = event.job
    match event:
        case JobEnqueued():
            return _row(ref, JobState.QUEUED, event.at, attempts=ref.attempt - 1, due_at=event.due,
                        args=event.args or None, kwargs=event.kwargs or None)  # fmt: skip
        case JobStarted():
            return _row(ref, JobState.RUNNING, event.at, worker=event.worker, started_at=event.at)
        case JobSucceeded():
            return _row(ref, JobState.SUCCEEDED, event.at, worker=event.worker, result=_kept(event.result),
                        started_at=start.at if start else None)  # fmt: skip
        case JobRetrying():
            return _row(ref, JobState.RETRYING, event.at, worker=event.worker, due_at=event.due,
                        max_retries=_bounded(event.max_retries), **_failure(event.failure))  # fmt: skip
        case JobDied():
            return _dead(ref, event.at, event.reason, event.failure, event.worker)
        case JobReturned():
            return _row(ref, JobState.QUEUED, event.at, step=_RETURNED)


def write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Merge ``rows`` into the table; rows of the same job must be in the order of their events."""
    if rows:
        # all processes lock shared jobs in one order; the sort is stable, so each job's events keep theirs
        in_order = sorted(rows, key=lambda row: str(row["id"]))
        _merge(connection.dialect).run(connection, in_order)


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
    stub = _row(ref, JobState.RUNNING, now, progress=said, progress_at=now) | {"place": _BEFORE_ALL}
    with store.begin() as connection:
        statement = insert(connection.dialect.name, jobs)
        changes = {name: statement.excluded[name] for name in ("progress", "progress_at")}
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changes), stub)


def record_replayed(connection: Connection, ref: JobRef, at: datetime) -> None:
    """Record that the dead job ``ref`` was published again: it is queued, and its next run starts."""
    following = JobRef(
        ref.job_id, ref.task, ref.queue, 1, ref.request_id, ref.enqueued_at, run=min(ref.run, _MAX_RUN) + 1
    )
    write(connection, [_row(following, JobState.QUEUED, at, attempts=0)])


def dead_row(
    ref: JobRef,
    at: datetime,
    reason: Reason,
    failure: Failure | None,
    *,
    worker: str | None = None,
    args: str | None = None,
    kwargs: str | None = None,
) -> dict[str, Any]:
    """The row, for ``write``, of a job in the dead-letter queue, whether or not the journal knows of it."""
    row = _dead(ref, at, reason, failure or Failure(f"{reason}"), worker)
    return row | {"args": args or None, "kwargs": kwargs or None}


def _dead(ref: JobRef, at: datetime, reason: Reason, failure: Failure, worker: str | None) -> dict[str, Any]:
    started = ref.attempt - (reason in _NEVER_STARTED)
    return _row(ref, JobState.DEAD, at, worker=worker, attempts=started, **_failure(failure))


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


def _row(ref: JobRef, state: JobState, at: datetime, step: int | None = None, **known: Any) -> dict[str, Any]:
    run, attempt = min(ref.run, _MAX_RUN), min(ref.attempt, _MAX_ATTEMPT)
    row: dict[str, Any] = dict(_NOTHING)
    row.update(
        id=ref.job_id,
        task=ref.task,
        queue=ref.queue,
        state=state.value,
        place=run << 40 | attempt << 8 | (_STEPS[state] if step is None else step),
        run=run,
        attempts=attempt,
        enqueued_at=ref.enqueued_at or (at if state is JobState.QUEUED and step is None else None),
        finished_at=at if state in (JobState.SUCCEEDED, JobState.DEAD) else None,
        request_id=ref.request_id,
        updated_at=at,
    )
    row.update(known)
    row["attempts"] = min(row["attempts"], _MAX_ATTEMPT)
    return row


@cache
def _merge(dialect: Dialect) -> Upsert:
    return Upsert(jobs, dialect, _changes)


def _changes(statement: Any) -> dict[str, Any]:
    new, old = statement.excluded, jobs.c
    rules = _Rules(new, jobs)
    changes: dict[str, Any] = {
        name: rules.latest(name)
        for name in ("task", "queue", "state", "place", "run", "updated_at", "worker", "due_at",
                     "finished_at", "result")
    }  # fmt: skip
    changes |= {
        name: func.coalesce(old[name], new[name]) for name in ("args", "kwargs", "enqueued_at", "request_id")
    }
    changes |= {name: rules.last_failure(name) for name in ("error", "error_message")}
    changes |= {name: rules.progress(name) for name in ("progress", "progress_at")}
    changes["max_retries"] = func.coalesce(new.max_retries, old.max_retries)
    changes["attempts"] = rules.attempts()
    changes["started_at"] = rules.started_at()
    return changes


class _Rules:
    """How a column's new value follows from its old value and that of an event."""

    def __init__(self, new: Any, table: Table) -> None:
        self.new = new
        self.old = old = table.c
        self.newer = or_(
            new.place > old.place, and_(new.place == old.place, new.updated_at >= old.updated_at)
        )
        self.next_run = new.run > old.run

    def latest(self, name: str) -> ColumnElement[Any]:
        return case((self.newer, self.new[name]), else_=self.old[name])

    def last_failure(self, name: str) -> ColumnElement[Any]:
        """The last failure of this run; none after a success."""
        new, old = self.new, self.old
        forget = or_(self.next_run, new.state == _constant(JobState.SUCCEEDED))
        late = and_(new.run == old.run, old.state != _constant(JobState.SUCCEEDED))
        return case(
            (and_(self.newer, forget), new[name]),
            (self.newer, func.coalesce(new[name], old[name])),
            (late, func.coalesce(old[name], new[name])),
            else_=old[name],
        )

    def progress(self, name: str) -> ColumnElement[Any]:
        """The last reported progress; cleared when the job has to start again."""
        again = or_(*(self.new.state == _constant(state) for state in (JobState.QUEUED, JobState.RETRYING)))
        said_before = self.old.progress_at <= self.new.updated_at
        return case((and_(self.newer, again, said_before), null()), else_=self.old[name])

    def attempts(self) -> ColumnElement[Any]:
        """Number of attempts that started in the latest run."""
        new, old = self.new, self.old
        more = and_(new.run == old.run, new.attempts > old.attempts)
        return case((or_(and_(self.newer, self.next_run), more), new.attempts), else_=old.attempts)

    def started_at(self) -> ColumnElement[Any]:
        """The start of the latest attempt in the latest run."""
        new, old = self.new.started_at, self.old.started_at
        later = and_(self.new.run == self.old.run, or_(old.is_(None), new > old))
        return case((or_(and_(self.newer, self.next_run), later), new), else_=old)


def _constant(state: JobState) -> ColumnElement[str]:
    return literal_column(f"'{state}'")


__all__ = ["dead_row", "record_progress", "record_replayed", "row", "write"]
