"""The ledger: the rows of durable jobs in the outbox, which stay until the outcome of their jobs is recorded.

A row names the run of the job that may start. ``begin`` is asked before each attempt, ``close`` is told of each
outcome, and ``reopen`` starts a new run of a job whose message was lost with the broker's data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, or_, select, update

from ..domain.events import JobCancelled, JobEvent, JobExpired, JobSkipped, JobSucceeded
from ..domain.job import FINISHED, JobRef, JobState
from .outbox_rows import MOST_IDS, PUBLISHED, WAITING
from .store import Store
from .tables import outbox
from .types import key_of

SECONDS = 2.0
"""Maximum seconds for which an attempt waits for the answer; then it runs unchecked."""
KEPT = timedelta(days=1)
"""How long the row of an ended job is kept, to recognise an older message of the job."""
PURGED = "purged"
"""The state of a row whose message was deleted with its queue."""
ENDED = (*(state.value for state in FINISHED), PURGED)
"""The states of a row whose job has ended."""
CANCELLED = f"the outcome {JobState.CANCELLED}"
"""What ``begin`` returns for a job that was cancelled."""

_IS_OPEN = or_(
    outbox.c.state == WAITING, outbox.c.state == PUBLISHED
)  # an IN cannot have many parameter sets
_ANY_RUN = 2**30
_RUN = "run "
_PUBLISHED = select(
    outbox.c.id, outbox.c.job_id, outbox.c.run, outbox.c.claimed_by, outbox.c.claimed_at
).where(outbox.c.state == PUBLISHED, outbox.c.durable == 1)
_CLOSE = (
    update(outbox)
    .where(outbox.c.id == bindparam("row"), outbox.c.run <= bindparam("last"), _IS_OPEN)
    .values(state=bindparam("ended"), claimed_by=None, claimed_at=bindparam("at"), message=b"")
)


class Ended(NamedTuple):
    """The outcome of the job whose row is ``row``. It closes the row unless that names a run after ``last_run``."""

    row: str
    last_run: int
    state: str
    at: datetime


class Open(NamedTuple):
    """A durable job that is published and has not ended. ``worker`` began its latest attempt, ``begun_at``."""

    row: str
    job_id: str
    run: int
    worker: str | None
    begun_at: datetime | None


def ended(event: JobEvent) -> Ended | None:
    """What ``event`` says about the ledger; None if it ends no durable job.

    A death says nothing yet: until the dead letter is in the database, it may be lost with the broker's data.
    """
    job = event.job
    if not job.durable:
        return None
    if isinstance(event, JobSucceeded):
        return Ended(job.durable, _ANY_RUN, JobState.SUCCEEDED.value, event.at)
    if isinstance(event, JobCancelled):
        return Ended(job.durable, _ANY_RUN, JobState.CANCELLED.value, event.at)
    if isinstance(event, JobExpired):
        return Ended(job.durable, job.run, JobState.EXPIRED.value, event.at)
    if isinstance(event, JobSkipped):
        return Ended(job.durable, job.run, JobState.SKIPPED.value, event.at)
    return None


def close(connection: Connection, outcomes: Iterable[Ended]) -> None:
    """Close the rows of jobs that have ended; other databases' rows and closed ones are no error."""
    values = [
        {"row": row, "last": last, "ended": state, "at": at} for row, last, state, at in sorted(outcomes)
    ]
    if values:
        connection.execute(_CLOSE, values)


def begin(stores: Iterable[Store], job: JobRef, worker: str, at: datetime) -> str:
    """Note that ``worker`` begins an attempt of the durable ``job``; returns '', or why it must not begin.

    A job without a row may begin. Raises ``DatabaseUnavailable``.
    """
    mine = (outbox.c.id == job.durable, outbox.c.run == job.run, _IS_OPEN)
    note = update(outbox).where(*mine).values(state=PUBLISHED, claimed_by=worker, claimed_at=at)
    for store in stores:
        with store.begin(timeout=SECONDS) as connection:
            if connection.execute(note).rowcount:
                return ""
            query = select(outbox.c.run, outbox.c.state).where(outbox.c.id == job.durable)
            found = connection.execute(query).first()
        if found is not None and found.run > job.run:
            return f"{_RUN}{found.run}"
        if found is not None and found.state in ENDED:
            return f"the outcome {found.state}"
    return ""


def names_newer_run(by: str) -> bool:
    """Whether an attempt must not begin, by the answer of ``begin``, because a newer run of its job counts."""
    return by.startswith(_RUN)


def published(store: Store, form: int) -> list[Open]:
    """The durable jobs that are published and have not ended, the oldest first; of rows whose format is ``form``."""
    return _found(store, _PUBLISHED.where(outbox.c.format == form))


def waiting(store: Store, queue: str, due: datetime | None) -> list[Open]:
    """Those of ``queue`` that no worker has begun; with ``due``, those alone that may start by then."""
    query = _PUBLISHED.where(outbox.c.queue == queue, outbox.c.claimed_by.is_(None))
    if due is not None:
        query = query.where(or_(outbox.c.due_at.is_(None), outbox.c.due_at <= due))
    return _found(store, query)


def _found(store: Store, query: Any) -> list[Open]:
    with store.read() as connection:
        return [Open(*row) for row in connection.execute(query.order_by(outbox.c.created_at, outbox.c.id))]


def reopen(store: Store, jobs: Sequence[Open], by: str, at: datetime, first: int) -> list[Any]:
    """Start a new run of those ``jobs`` that are as they were seen; returns their rows, claimed ``by`` a publisher."""
    rows: list[Any] = []
    with store.begin() as connection:
        for run, ids in _unchanged(connection, jobs).items():
            statement = update(outbox).where(outbox.c.id.in_(ids)).returning(*outbox.c)
            values = {"run": run + 1, "copy": first, "state": WAITING, "claimed_by": by, "claimed_at": at}
            rows += connection.execute(statement.values(values)).all()
    return rows


def purged(store: Store, jobs: Sequence[Open], at: datetime) -> None:
    """Close the rows of ``jobs``, whose messages were deleted, unless they have begun since they were seen."""
    with store.begin() as connection:
        for run, ids in _unchanged(connection, jobs).items():
            close(connection, [Ended(row, run, PURGED, at) for row in ids])


def cancelled(store: Store, job_ids: Sequence[str], at: datetime) -> None:
    """Close the rows of the durable jobs ``job_ids`` that are published: no worker begins them."""
    with store.begin() as connection:
        for first in range(0, len(job_ids), MOST_IDS):
            some = [key_of(job_id) for job_id in job_ids[first : first + MOST_IDS]]
            query = _PUBLISHED.where(outbox.c.job_id.in_(some)).with_for_update()
            found = [Open(*row) for row in connection.execute(query)]
            state = JobState.CANCELLED.value
            close(connection, [Ended(job.row, job.run, state, at) for job in found])


def _unchanged(connection: Connection, jobs: Sequence[Open]) -> Mapping[int, list[str]]:
    """The ids, by run, of those rows of ``jobs`` that are as they were seen; locks them."""
    found: dict[int, list[str]] = {}
    wanted = {job.row: job for job in jobs}
    ids = sorted(wanted)
    for at in range(0, len(ids), MOST_IDS):
        query = _PUBLISHED.where(outbox.c.id.in_(ids[at : at + MOST_IDS])).order_by(outbox.c.id)
        for row in connection.execute(query.with_for_update()):
            now = Open(*row)
            if wanted[now.row] == now:
                found.setdefault(now.run, []).append(now.row)
    return found


__all__ = [
    "CANCELLED",
    "ENDED",
    "KEPT",
    "PURGED",
    "SECONDS",
    "Ended",
    "Open",
    "begin",
    "cancelled",
    "close",
    "ended",
    "names_newer_run",
    "published",
    "purged",
    "reopen",
    "waiting",
]
