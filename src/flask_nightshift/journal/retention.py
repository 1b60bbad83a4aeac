"""Delete old rows: an hourly job that the extension schedules itself.

It deletes in small transactions (``pace.py``), so that other users of the database do not wait, and it can stop at any
point.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, Text, and_, delete, exists, func, or_, select, type_coerce

from ..config.settings import Settings
from ..store import Store, causes, kinds, ledger
from ..store.copies import KEPT
from ..store.refused import RECORD
from ..store.tables import (
    audit,
    beats,
    bulk_actions,
    copies,
    jobs,
    journals,
    locks,
    markers,
    outbox,
    refused,
    relations,
    tombstones,
    workers,
)
from ..store.tables import dead_letters as letters
from .folding import fold, fold_gone_processes
from .old_jobs import DECIDED, KEEP_UNFINISHED, prune_jobs
from .steps import SECONDS, Pace, judged

MOST_AUDITED = 100_000
"""Maximum number of actions in the audit."""
KEEP_PROCESSES = timedelta(days=1)
"""How long to keep a worker that no longer reports."""
OLD_WORKERS = timedelta(days=2)
"""How far back to mend letters that a worker of an older version has stored; ``migrate`` mends all."""

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
    ``totals`` (folded; their sums stay), ``workers``, ``beats``, ``journals``, ``copies``, ``locks``, ``tombstones``,
    ``kinds``, ``announced`` (jobs that a chain or a chord announced and that were never enqueued), ``audit`` and
    ``bulk_actions``. A dead job is kept as long as its dead letter waits, and a dead letter waits for ever by default.
    Raises ``DatabaseUnavailable``.
    """
    decided = now - timedelta(days=settings.keep_dead_days)
    counts = {
        "dead_letters": _prune_letters(store, letters.c.status.in_(DECIDED), decided),
        "waiting_dead_letters": _prune_waiting(store, settings.keep_waiting_days, now),
    }
    counts |= prune_jobs(store, Pace(), now, settings.keep_jobs_days)
    counts["totals"] = fold(store, now)
    counts |= _prune_processes(store, now)
    # the newest tables last: a role with permissions only for the older tables fails only here
    counts["refused"] = _delete(store, refused, and_(refused.c.kind == RECORD, refused.c.at < decided))
    counts["locks"] = _delete(store, locks, locks.c.expires_at < now, key=locks.c.key)
    counts["tombstones"] = _delete(store, tombstones, tombstones.c.expires_at < now, key=tombstones.c.job_id)
    counts["kinds"] = _mend_kinds(store, now)
    counts["announced"] = _prune_announced(store, now - timedelta(days=max(settings.keep_jobs_days.values())))
    counts["copies"] = _delete(store, copies, copies.c.at < now - KEPT, key=copies.c.row)
    counts |= _prune_audit(store, now - timedelta(days=settings.keep_audit_days))
    logger.info(
        "retention.pruned", extra={"counts": {kind: count for kind, count in counts.items() if count}}
    )
    return counts


def _mend_kinds(store: Store, now: datetime) -> int:
    """Mend the rows of workers of an older version, and delete the kinds without jobs; returns how many."""
    pace = Pace()

    def begin(timeout: float) -> AbstractContextManager[Connection]:  # noqa: ARG001 - the pace sets it
        return pace.begin(store)

    kinds.fill(store.read, begin)
    causes.fill(store.read, begin, since=now - OLD_WORKERS)
    return kinds.prune(store.begin, now)


def prune_once(store: Store, now: datetime) -> int:
    """Delete the markers of ``jobs.once()`` that are out of date; returns how many. Raises ``DatabaseUnavailable``."""
    return _delete(store, markers, markers.c.expires_at < now, key=markers.c.key)


def prune_durable(store: Store, now: datetime) -> int:
    """Delete the rows of durable jobs that ended long ago; returns how many. Raises ``DatabaseUnavailable``."""
    old = and_(outbox.c.state.in_(ledger.ENDED), outbox.c.claimed_at < now - ledger.KEPT)
    return _delete(store, outbox, old)


def _prune_audit(store: Store, before: datetime) -> dict[str, int]:
    """Delete old actions, those beyond ``MOST_AUDITED``, and bulk actions that ended long ago."""
    with store.read(timeout=SECONDS) as connection:
        newest_first = select(audit.c.at).order_by(audit.c.at.desc()).offset(MOST_AUDITED).limit(1)
        beyond = connection.execute(newest_first).scalar()
    old = audit.c.at < before if beyond is None else audit.c.at <= max(before, beyond)
    return {
        "audit": _delete(store, audit, old),
        "bulk_actions": _delete(store, bulk_actions, bulk_actions.c.ended_at < before),
    }


def _prune_waiting(store: Store, days: float | None, now: datetime) -> int:
    """Delete letters that still wait, if the user has set a limit; their jobs can no longer be replayed."""
    if days is None:
        return 0
    return _prune_letters(store, letters.c.status.not_in(DECIDED), now - timedelta(days=days))


def _prune_letters(store: Store, which: Any, before: datetime) -> int:
    """Delete letters, and log each, because it may be the last information about a job."""
    deleted = 0
    old = and_(which, letters.c.status_at < before)
    pace = Pace(least=1)  # a letter may have any size
    for ids in _chunks(store, letters.c.id, old, pace):
        gone: list[Any] = []

        def remove(connection: Connection, some: Sequence[str], gone: list[Any] = gone) -> None:
            statement = delete(letters).where(_stored(letters.c.id).in_(some), judged(old))
            gone += connection.execute(statement.returning(*_LOGGED)).mappings().all()

        try:
            pace.work(store, ids, remove)
        finally:
            _log_letters(gone)
        deleted += len(gone)
    return deleted


def _log_letters(gone: Sequence[Any]) -> None:
    for row in gone:
        extra = {name: row[name] for name in ("job_id", "task", "queue", "reason", "status")}
        level = logging.INFO if row["status"] in DECIDED else logging.WARNING
        logger.log(level, "dead_letters.pruned", extra={"letter_id": row["id"], **extra})


def _prune_announced(store: Store, before: datetime) -> int:
    """Delete what was announced and never enqueued, for example because the chain broke."""
    unrecorded = ~exists().where(jobs.c.id == relations.c.job_id)
    old = and_(relations.c.at < before - KEEP_UNFINISHED, unrecorded)
    return _delete(store, relations, old, key=relations.c.job_id)


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


def _delete(store: Store, table: Table, condition: Any, key: Any = None) -> int:
    key = table.c.id if key is None else key
    deleted, pace = 0, Pace()

    def remove(connection: Connection, some: Sequence[str]) -> None:
        nonlocal deleted
        statement = delete(table).where(_stored(key).in_(some), judged(condition))
        deleted += connection.execute(statement).rowcount

    for keys in _chunks(store, key, condition, pace):
        pace.work(store, keys, remove)
    return deleted


def _chunks(store: Store, key: Any, condition: Any, pace: Pace) -> Iterator[Sequence[str]]:
    """The keys of the rows to delete, as many at a time as ``pace`` says; delete each chunk before asking for the next.

    It ends if the database keeps rows that it was told to delete; a rule or a row policy can cause that.
    """
    before: set[str] = set()
    while True:
        with store.read(timeout=SECONDS) as connection:
            keys = connection.execute(select(key).where(condition).limit(pace.rows)).scalars().all()
        if before.issuperset(keys):
            return
        yield keys
        before = set(keys)


def _stored(key: Any) -> Any:
    """``key`` for comparison with stored keys as they are, because an earlier version did not shorten them."""
    return type_coerce(key, Text())


__all__ = ["prune", "prune_once"]
