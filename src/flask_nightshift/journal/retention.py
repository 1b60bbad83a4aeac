"""Delete old rows: an hourly job that the extension schedules itself.

It deletes in small transactions, so that other users of the database do not wait, and it can stop at any point.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, Text, and_, delete, exists, func, or_, select, type_coerce

from ..config.settings import Settings
from ..domain.job import JobState
from ..store import Store
from ..store.refused import RECORD
from ..store.tables import attempts, beats, jobs, journals, refused, workers
from ..store.tables import dead_letters as letters
from . import told
from .folding import fold, fold_gone_processes

CHUNK = 500
"""Maximum number of rows deleted in one transaction."""
DELETE_SECONDS = 30.0
KEEP_PROCESSES = timedelta(days=1)
"""How long to keep a worker that no longer reports."""
KEEP_UNFINISHED = timedelta(days=30)
"""How much longer than a finished job to keep one whose end was never reported."""

_FINISHED = (JobState.SUCCEEDED, JobState.DEAD)
_DECIDED = ("replayed", "discarded")
_LOGGED = (
    letters.c.id,
    letters.c.job_id,
    letters.c.task,
    letters.c.queue,
    letters.c.reason,
    letters.c.status,
)

logger = logging.getLogger("flask_nightshift.journal")


def prune(store: Store, settings: Settings, now: datetime) -> dict[str, int]:
    """Delete rows that are older than the settings allow; returns and logs the number of rows of each kind.

    The keys are ``jobs``, ``attempts``, ``dead_letters`` (decided ones), ``waiting_dead_letters``, ``refused``,
    ``totals`` (folded; their sums stay), ``workers``, ``beats`` and ``journals``. A dead job is kept as long as its
    dead letter waits, and a dead letter waits for ever by default. Raises ``DatabaseUnavailable``.
    """
    decided = now - timedelta(days=settings.keep_dead_days)
    counts = {
        "dead_letters": _prune_letters(store, letters.c.status.in_(_DECIDED), decided),
        "waiting_dead_letters": _prune_waiting(store, settings.keep_waiting_days, now),
    }
    counts |= _prune_jobs(store, now, timedelta(days=settings.keep_jobs_days))
    counts["totals"] = fold(store, now)
    counts |= _prune_processes(store, now)
    # the newest table last: a role with permissions only for the older tables fails only here
    counts["refused"] = _delete(store, refused, and_(refused.c.kind == RECORD, refused.c.at < decided))
    logger.info(
        "retention.pruned", extra={"counts": {kind: count for kind, count in counts.items() if count}}
    )
    return counts


def _prune_waiting(store: Store, days: float | None, now: datetime) -> int:
    """Delete letters that still wait, if the user has set a limit; their jobs can no longer be replayed."""
    if days is None:
        return 0
    return _prune_letters(store, letters.c.status.not_in(_DECIDED), now - timedelta(days=days))


def _prune_letters(store: Store, which: Any, before: datetime) -> int:
    """Delete letters, and log each, because it may be the last information about a job."""
    deleted = 0
    old = and_(which, letters.c.status_at < before)
    for ids in _chunks(store, letters.c.id, old):
        with store.begin(timeout=DELETE_SECONDS) as connection:
            statement = delete(letters).where(_stored(letters.c.id).in_(ids), old)
            gone = connection.execute(statement.returning(*_LOGGED)).mappings().all()
        deleted += len(gone)
        for row in gone:
            extra = {name: row[name] for name in ("job_id", "task", "queue", "reason", "status")}
            level = logging.INFO if row["status"] in _DECIDED else logging.WARNING
            logger.log(level, "dead_letters.pruned", extra={"letter_id": row["id"], **extra})
    return deleted


def _prune_jobs(store: Store, now: datetime, keep: timedelta) -> dict[str, int]:
    counts = {"jobs": 0, "attempts": 0}
    for ids in _chunks(store, jobs.c.id, _old_jobs(now, keep)):
        with store.begin(timeout=DELETE_SECONDS) as connection:
            counts["attempts"] += told.count(connection, _stored(jobs.c.id).in_(ids))
            counts["attempts"] += _rows(
                connection, delete(attempts).where(_stored(attempts.c.job_id).in_(ids))
            )
            counts["jobs"] += _rows(connection, delete(jobs).where(_stored(jobs.c.id).in_(ids)))
    return counts


def _prune_processes(store: Store, now: datetime) -> dict[str, int]:
    """Delete processes that have not reported for long, including those whose clock was once far ahead."""
    before, after = now - KEEP_PROCESSES, now + KEEP_PROCESSES
    fold_gone_processes(store, before)

    def unheard(column: Any) -> Any:
        return or_(column < before, column > after)

    last = select(func.max(beats.c.ticked_at)).where(beats.c.ticked_at <= after).scalar_subquery()
    old_beats = and_(unheard(beats.c.ticked_at), beats.c.ticked_at != func.coalesce(last, now))
    return {
        "workers": _delete(store, workers, unheard(workers.c.seen_at), key=workers.c.name),
        # keep the last one, which shows since when no Beat runs
        "beats": _delete(store, beats, old_beats, key=beats.c.name),
        "journals": _delete(store, journals, unheard(journals.c.written_at)),
    }


def _old_jobs(now: datetime, keep: timedelta) -> Any:
    waiting = exists().where(letters.c.job_id == jobs.c.id, letters.c.status.not_in(_DECIDED))
    finished = and_(jobs.c.state.in_(_FINISHED), jobs.c.updated_at < now - keep, ~waiting)
    unheard_of = now - keep - KEEP_UNFINISHED
    unfinished = and_(
        jobs.c.state.not_in(_FINISHED),
        jobs.c.updated_at < unheard_of,
        or_(jobs.c.due_at.is_(None), jobs.c.due_at < unheard_of),
    )
    return or_(finished, unfinished)


def _delete(store: Store, table: Table, condition: Any, key: Any = None) -> int:
    key = table.c.id if key is None else key
    deleted = 0
    for keys in _chunks(store, key, condition):
        with store.begin(timeout=DELETE_SECONDS) as connection:
            deleted += _rows(connection, delete(table).where(_stored(key).in_(keys), condition))
    return deleted


def _chunks(store: Store, key: Any, condition: Any) -> Iterator[Sequence[str]]:
    """The keys of the rows to delete, ``CHUNK`` at a time; delete each chunk before asking for the next.

    It ends if the database keeps rows that it was told to delete; a rule or a row policy can cause that.
    """
    before: Sequence[str] = ()
    while True:
        with store.read(timeout=DELETE_SECONDS) as connection:
            keys = connection.execute(select(key).where(condition).limit(CHUNK)).scalars().all()
        if not keys or keys == before:
            return
        yield keys
        before = keys


def _stored(key: Any) -> Any:
    """``key`` for comparison with stored keys as they are, because an earlier version did not shorten them."""
    return type_coerce(key, Text())


def _rows(connection: Connection, statement: Any) -> int:
    return int(connection.execute(statement).rowcount)


__all__ = ["prune"]
