"""What the database forgets, and when: a nightly job that the extension schedules itself.

It deletes in small transactions, so that nobody waits for it, and it can be stopped at any point.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, and_, delete, exists, or_, select

from ..config import Settings
from ..job import JobState
from ..store import Store
from ..store.tables import attempts, dead_letters, jobs, journals, totals, workers
from .tally import ALL_TIME, KEEP_MINUTES, add

CHUNK = 500
"""Rows deleted in one transaction."""
TIMEOUT = 30.0
KEEP_PROCESSES = timedelta(days=1)
"""How long a worker that was not heard of is remembered."""
KEEP_UNFINISHED = timedelta(days=30)
"""How much longer than a finished job one is kept whose end was never heard of."""

_FINISHED = (JobState.SUCCEEDED, JobState.DEAD)


def prune(store: Store, settings: Settings, now: datetime) -> dict[str, int]:
    """Delete what is older than the settings say; how many rows of each kind.

    The keys are ``jobs``, ``attempts``, ``dead_letters``, ``totals`` (minutes; their sums stay), ``workers``
    and ``journals``. A dead job is kept as long as its dead letter waits. Raises ``DatabaseUnavailable``.
    """
    keep_jobs = timedelta(days=settings.keep_jobs_days)
    counts = {"jobs": 0, "attempts": 0}
    counts["dead_letters"] = _delete(
        store, dead_letters, _old_letters(now - timedelta(days=settings.keep_dead_days))
    )
    for ids in _chunks(store, jobs.c.id, _old_jobs(now, keep_jobs)):
        with store.begin(timeout=TIMEOUT) as connection:
            counts["attempts"] += _rows(connection, delete(attempts).where(attempts.c.job_id.in_(ids)))
            counts["jobs"] += _rows(connection, delete(jobs).where(jobs.c.id.in_(ids)))
    counts["totals"] = _prune_minutes(store, now - KEEP_MINUTES)
    _fold_gone_processes(store, now - KEEP_PROCESSES)
    counts["workers"] = _delete(store, workers, workers.c.seen_at < now - KEEP_PROCESSES, key=workers.c.name)
    counts["journals"] = _delete(store, journals, journals.c.written_at < now - KEEP_PROCESSES)
    return counts


def _old_jobs(now: datetime, keep: timedelta) -> Any:
    waiting = exists().where(dead_letters.c.job_id == jobs.c.id, dead_letters.c.status == "waiting")
    finished = and_(jobs.c.state.in_(_FINISHED), jobs.c.updated_at < now - keep, ~waiting)
    unheard_of = now - keep - KEEP_UNFINISHED
    unfinished = and_(
        jobs.c.state.not_in(_FINISHED),
        jobs.c.updated_at < unheard_of,
        or_(jobs.c.due_at.is_(None), jobs.c.due_at < unheard_of),
    )
    return or_(finished, unfinished)


def _old_letters(before: datetime) -> Any:
    return dead_letters.c.status_at < before


def _prune_minutes(store: Store, before: datetime) -> int:
    old = and_(totals.c.minute > ALL_TIME, totals.c.minute < before)
    pruned = 0
    while True:
        with store.begin(timeout=TIMEOUT) as connection:
            minutes = (
                connection.execute(select(totals.c.minute).where(old).distinct().limit(CHUNK)).scalars().all()
            )
            if not minutes:
                return pruned
            pruned += _rows(connection, delete(totals).where(totals.c.minute.in_(minutes)))


def _fold_gone_processes(store: Store, before: datetime) -> None:
    """Add the all-time rows of processes that have long ended to one row without a name, never losing one."""
    alive = select(totals.c.worker).where(totals.c.minute >= before)
    gone = and_(totals.c.minute == ALL_TIME, totals.c.worker != "", totals.c.worker.not_in(alive))
    with store.begin(timeout=TIMEOUT) as connection:
        # a process that writes at this moment waits for the delete and then begins a new row
        rows = connection.execute(delete(totals).where(gone).returning(*totals.c)).mappings().all()
        for row in rows:
            add(connection, [dict(row) | {"worker": ""}])


def _delete(store: Store, table: Table, condition: Any, key: Any = None) -> int:
    key = table.c.id if key is None else key
    deleted = 0
    for keys in _chunks(store, key, condition):
        with store.begin(timeout=TIMEOUT) as connection:
            deleted += _rows(connection, delete(table).where(key.in_(keys), condition))
    return deleted


def _chunks(store: Store, key: Any, condition: Any) -> Any:
    """The keys of the rows to delete, ``CHUNK`` at a time; delete each chunk before asking for the next."""
    while True:
        with store.read(timeout=TIMEOUT) as connection:
            keys = connection.execute(select(key).where(condition).limit(CHUNK)).scalars().all()
        if not keys:
            return
        yield keys


def _rows(connection: Connection, statement: Any) -> int:
    return int(connection.execute(statement).rowcount)


__all__ = ["prune"]
