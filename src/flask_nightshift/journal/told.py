"""Attempts that have no row of their own, because the job's row tells them: the first one, if it succeeded.

Nearly all attempts are of this kind, and a second row for each would be a fifth of the price of history. The job's row
has the attempt's worker, start and end; its wait follows from ``enqueued_at``, and its runtime from ``updated_at``,
which for these jobs is the moment at which the body returned. An attempt of which any of that is not so has a row.

Before a job's row changes so that it no longer tells an attempt (its message was delivered twice, or its id was used
again), the attempt gets its row: see ``jobs.write``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, literal_column, select

from ..domain.events import JobStarted, JobSucceeded
from ..domain.job import JobState, Outcome
from ..domain.record import AttemptRecord
from ..store.tables import attempts, jobs
from ..store.upsert import insert
from .steps import judged

LONGEST = 10.0**8
"""Maximum runtime in seconds that a job's row tells."""

SUCCEEDED: ColumnElement[str] = literal_column(f"'{JobState.SUCCEEDED}'")
_FIRST: ColumnElement[int] = literal_column("1")
_NEVER_REPLAYED: ColumnElement[int] = literal_column("0")


def is_told_by_job(started: JobStarted, ended: JobSucceeded) -> bool:
    """Whether the attempt can be derived from the row of its job; both events are of the same attempt."""
    job = ended.job
    return (
        job.attempt == 1
        and job.run == 0
        and job.enqueued_at is not None
        and started.wait == _wait(job.enqueued_at, started.at)
        and 0 <= ended.runtime < LONGEST
    )


def returned_at(started_at: datetime, runtime: float) -> datetime:
    """When the body returned: the ``updated_at`` of a job that tells its attempt."""
    return started_at + timedelta(seconds=runtime)


def may_tell(job: Any) -> ColumnElement[bool]:
    """Whether the row ``job`` (the table's columns) tells an attempt, unless that has a row of its own."""
    return and_(
        job.state == SUCCEEDED,
        job.run == _NEVER_REPLAYED,
        job.attempts == _FIRST,
        job.started_at.is_not(None),
    )


def attempt(job: Row[Any]) -> AttemptRecord | None:
    """The attempt that the row ``job`` tells, if it may tell one."""
    if (job.state, job.run, job.attempts) != (JobState.SUCCEEDED, 0, 1) or job.started_at is None:
        return None
    return AttemptRecord(
        run=job.run,
        number=job.attempts,
        at=job.started_at,
        worker=job.worker,
        wait=_wait(job.enqueued_at, job.started_at) if job.enqueued_at else None,
        ended_at=job.finished_at,
        outcome=Outcome.SUCCEEDED,
        runtime=(job.updated_at - job.started_at).total_seconds(),
        error=None,
        message=None,
        traceback=None,
        due_at=None,
    )


def with_told(job: Row[Any], stored: list[AttemptRecord]) -> list[AttemptRecord]:
    """The attempts of ``job`` in their order: those that are ``stored``, and the one that its row tells, if any."""
    told = attempt(job)
    if told is None or any((a.run, a.number, a.at) == (told.run, told.number, told.at) for a in stored):
        return stored
    return sorted([*stored, told], key=lambda a: (a.run, a.number, a.at))


def count(connection: Connection, ids: ColumnElement[bool]) -> int:
    """Number of attempts that are told by the rows of the jobs ``ids`` (a condition) alone."""
    query = select(func.count()).select_from(jobs).where(ids, judged(may_tell(jobs.c)), ~_has_row())
    return int(connection.execute(query).scalar_one())


def give_rows(connection: Connection, ids: Iterable[str]) -> None:
    """Write the row of each attempt that only the row of a job in ``ids`` tells; those rows may change then."""
    query = select(jobs).where(jobs.c.id.in_(list(ids)), may_tell(jobs.c), ~_has_row())
    found = [(job.id, told) for job in connection.execute(query) if (told := attempt(job))]
    if found:
        statement = insert(connection.dialect.name, attempts).on_conflict_do_nothing()
        connection.execute(statement, [_row(job_id, told) for job_id, told in found])


def _has_row() -> Any:
    return (
        select(attempts.c.job_id)
        .where(
            attempts.c.job_id == jobs.c.id,
            attempts.c.run == jobs.c.run,
            attempts.c.number == jobs.c.attempts,
            attempts.c.started_at == jobs.c.started_at,
        )
        .exists()
    )


def _row(job_id: str, told: AttemptRecord) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "run": told.run,
        "number": told.number,
        "started_at": told.at,
        "worker": told.worker,
        "wait": told.wait,
        "ended_at": told.ended_at,
        "outcome": told.outcome,
        "runtime": told.runtime,
    }


def _wait(enqueued_at: datetime, started_at: datetime) -> float:
    return max(0.0, (started_at - enqueued_at).total_seconds())


__all__ = [
    "SUCCEEDED",
    "attempt",
    "count",
    "give_rows",
    "is_told_by_job",
    "may_tell",
    "returned_at",
    "with_told",
]
