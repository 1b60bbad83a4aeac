"""Exact totals of the whole cluster: how attempts ended, and how long they ran and waited.

Each process adds to its own rows (the key ends with the worker) in one atomic statement. There is a row for each
minute, which becomes coarser with age (``folding.py``), and an all-time row, whose minute is the epoch. Both are
written together, so that all-time sums read only a few rows, and folding minutes changes no sum.

A wait counts with the outcome of the attempt that waited. Histogram buckets are not cumulative: bucket ``i`` counts
values of at most ``BUCKETS[i]`` seconds that exceed the previous bound; the last bucket counts the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import add as plus
from typing import Any

from sqlalchemy import Connection, func, select

from ..domain.job import Outcome, Reason
from ..store import Store
from ..store.tables import BUCKETS, bucket_columns
from ..store.tables import totals as table
from ..store.upsert import insert

ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The minute of the all-time row."""
TICK = 2.0**-20
"""Sums of seconds are rounded to multiples of this (about a microsecond), so that adding them up is exact in any order:
a float keeps up to 272 years of them."""
MAX_CELLS = 5_000
"""Rows waiting for the database above which minutes are counted by the hour; above twice as many, new tasks and queues
are counted as ``UNKNOWN``."""
UNKNOWN = "unknown"
"""The task name for jobs whose task no worker knew, because anybody can invent any number of names."""
NEVER_KNOWN = (Reason.UNKNOWN_TASK, Reason.INVALID, Reason.UNDECODABLE)

SUMS = ("count", "runtime_sum", "wait_sum", *bucket_columns("runtime"), *bucket_columns("wait"))
_KEYS = ("minute", "task", "queue", "outcome", "worker")


@dataclass(frozen=True, slots=True)
class TotalsRow:
    """The sums of one task, queue and outcome.

    ``runtime_sum`` and ``wait_sum`` are in seconds. The buckets are not cumulative and have one more entry than
    ``BUCKETS``. Their sum is the number of measured attempts, which may be less than ``count``: a job that was buried
    before it ran has no runtime.
    """

    task: str
    queue: str
    outcome: Outcome
    count: int
    runtime_sum: float
    wait_sum: float
    runtime_buckets: tuple[int, ...]
    wait_buckets: tuple[int, ...]

    def __add__(self, other: TotalsRow) -> TotalsRow:
        """The sums of both, with the names of the first."""
        return replace(
            self,
            count=self.count + other.count,
            runtime_sum=self.runtime_sum + other.runtime_sum,
            wait_sum=self.wait_sum + other.wait_sum,
            runtime_buckets=tuple(map(plus, self.runtime_buckets, other.runtime_buckets)),
            wait_buckets=tuple(map(plus, self.wait_buckets, other.wait_buckets)),
        )


@dataclass(slots=True)
class _Cell:
    count: int = 0
    runtime_sum: float = 0.0
    wait_sum: float = 0.0
    runtime: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    wait: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    def add(self, runtime: float | None, wait: float | None) -> None:
        self.count += 1
        if runtime is not None:
            self.runtime_sum += runtime
            self.runtime[bisect_left(BUCKETS, runtime)] += 1
        if wait is not None:
            self.wait_sum += wait
            self.wait[bisect_left(BUCKETS, wait)] += 1

    def merge(self, other: _Cell) -> None:
        self.count += other.count
        self.runtime_sum += other.runtime_sum
        self.wait_sum += other.wait_sum
        self.runtime = [a + b for a, b in zip(self.runtime, other.runtime, strict=True)]
        self.wait = [a + b for a, b in zip(self.wait, other.wait, strict=True)]

    def round(self) -> None:
        """Round the sums of seconds to multiples of ``TICK``."""
        self.runtime_sum = round(self.runtime_sum / TICK) * TICK
        self.wait_sum = round(self.wait_sum / TICK) * TICK

    def columns(self) -> Iterator[tuple[str, float]]:
        yield from (("count", self.count), ("runtime_sum", self.runtime_sum), ("wait_sum", self.wait_sum))
        yield from zip(bucket_columns("runtime"), self.runtime, strict=True)
        yield from zip(bucket_columns("wait"), self.wait, strict=True)


class Tally:
    """Outcomes that are counted in memory until they are written."""

    def __init__(self) -> None:
        self._cells: dict[tuple[datetime, str, str, str], _Cell] = {}
        self._coarse_above = MAX_CELLS
        self._minute = self._next_minute = ALL_TIME  # of the latest outcome

    def __bool__(self) -> bool:
        return bool(self._cells)

    def add(
        self,
        at: datetime,
        task: str,
        queue: str,
        outcome: Outcome,
        runtime: float | None,
        wait: float | None,
        reason: Reason | None = None,
    ) -> None:
        """Count one ended attempt; ``runtime`` and ``wait`` in seconds, where they are known.

        ``reason`` says why the job was buried, if it was; task names that no worker knew count as ``UNKNOWN``.
        """
        if outcome is Outcome.DEAD and reason in NEVER_KNOWN:
            task = UNKNOWN
        if not self._minute <= at < self._next_minute:
            self._minute = at.astimezone(UTC).replace(second=0, microsecond=0)
            self._next_minute = self._minute + timedelta(minutes=1)
        self._cell(self._minute, task, queue, outcome).add(runtime, wait)
        if len(self._cells) > self._coarse_above:
            self._coarsen()

    def rows(self, worker: str) -> list[dict[str, Any]]:
        """The rows to add to the table for ``worker``, including the all-time rows."""
        ever: dict[tuple[datetime, str, str, str], _Cell] = {}
        for (_, *labels), cell in self._cells.items():
            cell.round()  # before it counts for all time, so that both sums stay the same
            ever.setdefault((ALL_TIME, *labels), _Cell()).merge(cell)  # type: ignore[arg-type]
        return [
            dict(zip(_KEYS, (*key, worker), strict=True)) | dict(cell.columns())
            for key, cell in (*ever.items(), *self._cells.items())
        ]

    def _cell(self, minute: datetime, *labels: str) -> _Cell:
        key: Any = (minute, *labels)
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= 2 * MAX_CELLS and labels[:2] != (UNKNOWN, UNKNOWN):
                return self._cell(minute, UNKNOWN, UNKNOWN, labels[2])
            cell = self._cells[key] = _Cell()
        return cell

    def _coarsen(self) -> None:
        fine, self._cells = self._cells, {}
        for (minute, *labels), cell in fine.items():
            self._cell(minute.replace(minute=0), *labels).merge(cell)
        self._coarse_above = len(self._cells) + MAX_CELLS  # once, not for each new name


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add each of ``rows`` to the table's row with the same key."""
    if rows:
        in_order = sorted(rows, key=lambda row: tuple(row[key] for key in _KEYS))
        connection.execute(_add(connection.dialect.name), in_order)


def totals(store: Store) -> list[TotalsRow]:
    """The all-time sums, by task, queue and outcome."""
    return _sum(store, table.c.minute == ALL_TIME)


def recent_totals(store: Store, since: datetime) -> list[TotalsRow]:
    """The sums of the minutes since that of ``since``."""
    minute = since.astimezone(UTC).replace(second=0, microsecond=0)
    return _sum(store, table.c.minute >= max(minute, ALL_TIME + timedelta(minutes=1)))


def any_ended(store: Store) -> bool:
    """Whether an attempt ever ended."""
    with store.read() as connection:
        return connection.execute(select(table.c.minute).limit(1)).first() is not None


def cumulative(buckets: tuple[int, ...]) -> list[tuple[str, float]]:
    """``buckets`` in Prometheus' form: ``[("0.01", n), …, ("+Inf", all)]``."""
    running, found = 0, []
    for bound, count in zip((*map(str, map(float, BUCKETS)), "+Inf"), buckets, strict=True):
        running += count
        found.append((bound, float(running)))
    return found


def _sum(store: Store, condition: Any) -> list[TotalsRow]:
    labels = (table.c.task, table.c.queue, table.c.outcome)
    query = select(*labels, *(func.sum(table.c[name]) for name in SUMS)).where(condition)
    with store.read() as connection:
        found = connection.execute(query.group_by(*labels).order_by(*labels)).all()
    return [_totals_row(*row) for row in found]


def _totals_row(
    task: str, queue: str, outcome: str, count: Any, runtime: Any, wait: Any, *buckets: Any
) -> TotalsRow:
    numbers = tuple(map(int, buckets))
    half = len(BUCKETS) + 1
    return TotalsRow(
        task, queue, Outcome(outcome), int(count), float(runtime), float(wait), numbers[:half], numbers[half:]
    )


@cache
def _add(dialect: str) -> Any:
    statement = insert(dialect, table)
    changes = {name: table.c[name] + statement.excluded[name] for name in SUMS}
    return statement.on_conflict_do_update(index_elements=list(_KEYS), set_=changes)


__all__ = ["ALL_TIME", "BUCKETS", "SUMS", "UNKNOWN", "Tally", "TotalsRow", "add", "any_ended", "cumulative",
           "recent_totals", "totals"]  # fmt: skip
