"""Make totals coarser as they age, without changing any sum.

There is a row for each minute and worker for an hour, then a row for each minute over all workers. After two days there
is one for each hour, after sixty days one for each day, and after two years none. The all-time rows, which metrics
read, are kept. A folded row has the time at which its minute, hour or day begins, and no worker's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, and_, delete, func, or_, select, tuple_, type_coerce

from ..store import Store
from ..store.tables import journals
from ..store.tables import totals as table
from .steps import SECONDS, Pace
from .tally import ALL_TIME, SUMS, add

MAX_SPANS = 300
"""Maximum number of time spans in one statement; SQLite limits the depth of an expression to 1,000."""
_KEY: list[Any] = [
    column if column.name == "minute" else type_coerce(column, Text()) for column in table.primary_key
]
"""The key as it is stored, because an earlier version did not shorten long names."""


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
    pace = Pace()
    gone = _forget(store, now - KEEP, pace)
    for level in LEVELS:
        waiting = _foldable(store, _start(now - level.after, level.span), level.span)
        while waiting:
            targets = _first(waiting, pace.rows)
            gone += _fold(store, targets, level.span, pace)
            for target in targets:
                del waiting[target]
    return gone


def _foldable(store: Store, before: datetime, span: timedelta) -> dict[datetime, int]:
    """The time spans before ``before`` that have too many rows, with the number of rows."""
    query = select(table.c.minute, func.count(), func.max(table.c.worker, type_=table.c.worker.type)).where(
        table.c.minute > ALL_TIME, table.c.minute < before
    )
    with store.read(timeout=SECONDS) as connection:
        minutes = connection.execute(query.group_by(table.c.minute).order_by(table.c.minute)).all()
    rows: dict[datetime, int] = {}
    fine: set[datetime] = set()
    for minute, count, worker in minutes:
        target = _start(minute, span)
        rows[target] = rows.get(target, 0) + count
        if worker or minute != target:
            fine.add(target)
    return {target: count for target, count in rows.items() if target in fine}


def _first(waiting: dict[datetime, int], rows: int) -> list[datetime]:
    """The first time spans with up to so many rows together, at least one."""
    chosen: list[datetime] = []
    for target, count in waiting.items():
        rows -= count
        if chosen and (rows < 0 or len(chosen) == MAX_SPANS):
            break
        chosen.append(target)
    return chosen


def _fold(store: Store, targets: list[datetime], span: timedelta, pace: Pace) -> int:
    """Fold the rows of each of ``targets``, some at a time: sums are right after each transaction.

    A worker that writes at this moment waits, and then adds a new row.
    """
    within = or_(*(and_(table.c.minute >= target, table.c.minute < target + span) for target in targets))
    unfolded = and_(within, ~and_(table.c.worker == "", table.c.minute.in_(targets)))
    return _move(store, unfolded, pace, lambda row: {"minute": _start(row["minute"], span)})


def _move(store: Store, which: Any, pace: Pace, change: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Add the rows ``which`` to those with another key and without a worker's name; returns how many rows went."""
    moved = 0
    while (some := _some(store, which, pace)) is not None:
        with pace.begin(store) as connection:
            rows = connection.execute(delete(table).where(some).returning(*table.c)).mappings().all()
            add(connection, _added_up({**row, "worker": "", **change(dict(row))} for row in rows))
        moved += len(rows)
        if not rows:  # the database keeps rows that it was told to delete
            break
    return moved


def _some(store: Store, which: Any, pace: Pace) -> Any:
    """The condition for a few of the rows ``which``, found before the transaction that holds others up."""
    with store.read(timeout=SECONDS) as connection:
        rows = connection.execute(select(*_KEY).where(which).limit(pace.rows)).all()
    return tuple_(*_KEY).in_([tuple(row) for row in rows]) if rows else None


def fold_gone_processes(store: Store, before: datetime) -> None:
    """Add the all-time rows of processes that last reported before ``before`` to nameless rows, without loss."""
    alive = select(journals.c.worker).where(journals.c.written_at >= before)
    gone = and_(table.c.minute == ALL_TIME, table.c.worker != "", table.c.worker.not_in(alive))
    _move(store, gone, Pace(), lambda row: {})  # noqa: ARG005 - the minute stays


def _added_up(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """``rows`` merged by key, because PostgreSQL cannot change a row twice in one statement."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["minute"], row["task"], row["queue"], row["outcome"])
        known = sums.setdefault(key, row)
        if known is not row:
            known.update({name: known[name] + row[name] for name in SUMS})
    return list(sums.values())


def _forget(store: Store, before: datetime, pace: Pace) -> int:
    """Delete rows that are too old."""
    old, deleted = and_(table.c.minute > ALL_TIME, table.c.minute < before), 0
    while (some := _some(store, old, pace)) is not None:
        with pace.begin(store) as connection:
            gone = connection.execute(delete(table).where(some)).rowcount
        deleted += gone
        if not gone:
            break
    return deleted


def _start(moment: datetime, span: timedelta) -> datetime:
    """The beginning of the time span that contains ``moment``."""
    return moment - (moment - ALL_TIME) % span


__all__ = ["LEVELS", "fold", "fold_gone_processes"]
