"""Make totals coarser as they age, without changing any sum.

There is a row for each minute and worker for an hour, then a row for each minute over all workers. After two days there
is one for each hour, after sixty days one for each day, and after two years none. The all-time rows, which metrics
read, are kept. A folded row has the time at which its minute, hour or day begins, and no worker's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, delete, func, or_, select, tuple_

from ..store import Store
from ..store.tables import journals
from ..store.tables import totals as table
from .tally import ALL_TIME, SUMS, add

CHUNK = 5_000
"""Maximum number of rows folded in one transaction, unless one time span has more."""
MAX_SPANS = 300
"""Maximum number of time spans in one statement; SQLite limits the depth of an expression to 1,000."""
FOLD_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Level:
    """Rows older than ``after`` cover ``span`` each."""

    after: timedelta
    span: timedelta


LEVELS = (
    Level(timedelta(hours=1), timedelta(minutes=1)),
    Level(timedelta(days=2), timedelta(hours=1)),
    Level(timedelta(days=60), timedelta(days=1)),
)
"""The finest first, so that a day is folded from hours, not from each worker's minutes."""
KEEP = timedelta(days=730)


def fold(store: Store, now: datetime) -> int:
    """Fold rows that are old enough at ``now``; returns how many rows went. Raises ``DatabaseUnavailable``."""
    gone = _forget(store, now - KEEP)
    for level in LEVELS:
        before = _start(now - level.after, level.span)
        for targets in _chunks(_foldable(store, before, level.span)):
            with store.begin(timeout=FOLD_SECONDS) as connection:
                gone += _fold(connection, targets, level.span)
    return gone


def _foldable(store: Store, before: datetime, span: timedelta) -> dict[datetime, int]:
    """The time spans before ``before`` that have too many rows, with the number of rows."""
    query = select(table.c.minute, func.count(), func.max(table.c.worker, type_=table.c.worker.type)).where(
        table.c.minute > ALL_TIME, table.c.minute < before
    )
    with store.read(timeout=FOLD_SECONDS) as connection:
        minutes = connection.execute(query.group_by(table.c.minute).order_by(table.c.minute)).all()
    rows: dict[datetime, int] = {}
    fine: set[datetime] = set()
    for minute, count, worker in minutes:
        target = _start(minute, span)
        rows[target] = rows.get(target, 0) + count
        if worker or minute != target:
            fine.add(target)
    return {target: count for target, count in rows.items() if target in fine}


def _chunks(targets: dict[datetime, int]) -> Iterator[list[datetime]]:
    chunk: list[datetime] = []
    size = 0
    for target, count in targets.items():
        if chunk and (size + count > CHUNK or len(chunk) == MAX_SPANS):
            yield chunk
            chunk, size = [], 0
        chunk.append(target)
        size += count
    if chunk:
        yield chunk


def _fold(connection: Connection, targets: list[datetime], span: timedelta) -> int:
    """Fold the rows of each of ``targets``; a worker that writes at this moment waits, and then adds a new row."""
    within = or_(*(and_(table.c.minute >= target, table.c.minute < target + span) for target in targets))
    folded = and_(table.c.worker == "", table.c.minute.in_(targets))
    gone = connection.execute(delete(table).where(within, ~folded).returning(*table.c)).mappings().all()
    add(connection, _added_up({**row, "minute": _start(row["minute"], span), "worker": ""} for row in gone))
    return len(gone)


def fold_gone_processes(store: Store, before: datetime) -> None:
    """Add the all-time rows of processes that last reported before ``before`` to nameless rows, without loss."""
    alive = select(journals.c.worker).where(journals.c.written_at >= before)
    gone = and_(table.c.minute == ALL_TIME, table.c.worker != "", table.c.worker.not_in(alive))
    keys = tuple_(*table.primary_key)
    some = select(*table.primary_key).where(gone).limit(CHUNK)
    while True:
        with store.begin(timeout=FOLD_SECONDS) as connection:
            # a process that writes at this moment waits for the delete and then adds a new row
            statement = delete(table).where(gone, keys.in_(some)).returning(*table.c)
            rows = connection.execute(statement).mappings().all()
            add(connection, _added_up({**row, "worker": ""} for row in rows))
        if len(rows) < CHUNK:
            return


def _added_up(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` merged by key, because PostgreSQL cannot change a row twice in one statement."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["minute"], row["task"], row["queue"], row["outcome"])
        known = sums.setdefault(key, row)
        if known is not row:
            known.update({name: known[name] + row[name] for name in SUMS})
    return list(sums.values())


def _forget(store: Store, before: datetime) -> int:
    """Delete rows that are too old, one day at a time."""
    deleted = 0
    while True:
        with store.begin(timeout=FOLD_SECONDS) as connection:
            oldest = connection.execute(
                select(func.min(table.c.minute, type_=table.c.minute.type)).where(
                    table.c.minute > ALL_TIME, table.c.minute < before
                )
            ).scalar()
            if oldest is None:
                return deleted
            end = min(before, oldest + timedelta(days=1))
            old = and_(table.c.minute > ALL_TIME, table.c.minute < end)
            deleted += connection.execute(delete(table).where(old)).rowcount


def _start(moment: datetime, span: timedelta) -> datetime:
    """The beginning of the time span that contains ``moment``."""
    return moment - (moment - ALL_TIME) % span


__all__ = ["LEVELS", "fold", "fold_gone_processes"]
