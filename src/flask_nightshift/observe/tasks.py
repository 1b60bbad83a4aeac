"""How each task did over the last hour, day or 30 days: how often it ran and failed, how long it took and waited.

The sums are kept in the process as those of ``trends.py`` are: the last value is shown while a new one is computed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from .. import journal
from ..domain.job import Outcome, utcnow
from ..journal import BUCKETS, TotalsRow
from ..services import Services
from ..store import Store
from . import bounded_calls
from .bounded_calls import Answer
from .quantiles import quantile
from .trends import SECONDS, SHAPES, Period


class Order(enum.StrEnum):
    """What comes first."""

    BUSIEST = "busiest"
    FAILING = "failing"
    SLOWEST = "slowest"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class TaskRow:
    """The attempts of ``task`` that ended, by how they ended.

    ``seconds`` is the sum of their runtimes. The quantiles are in seconds, None if none was measured.
    """

    task: str
    queues: tuple[str, ...]
    succeeded: int
    retried: int
    died: int
    others: int
    seconds: float
    runtime_p50: float | None
    runtime_p95: float | None
    wait_p95: float | None

    @property
    def ended(self) -> int:
        """All attempts that ended."""
        return self.succeeded + self.retried + self.died + self.others

    @property
    def failed(self) -> float:
        """The share of the attempts that failed, whether they were retried or died; 0 to 1."""
        return (self.retried + self.died) / self.ended if self.ended else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The row in plain JSON types."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"queues": list(self.queues), "ended": self.ended, "failed": round(self.failed, 6)}


@dataclass(frozen=True, slots=True)
class Tasks:
    """The tasks of which an attempt ended between ``since`` and ``until``."""

    period: Period
    since: datetime
    until: datetime
    rows: tuple[TaskRow, ...]

    def ordered(self, order: Order) -> list[TaskRow]:
        """The rows in that order; tasks that are alike are in the order of their names."""
        return sorted(self.rows, key=lambda row: (_KEYS[order](row), row.task))

    def as_dict(self, order: Order = Order.BUSIEST) -> dict[str, Any]:
        """The tasks in plain JSON types."""
        return {
            "period": str(self.period),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "tasks": [row.as_dict() for row in self.ordered(order)],
        }


_KEYS: dict[Order, Callable[[TaskRow], float]] = {
    Order.BUSIEST: lambda row: -row.seconds,
    Order.FAILING: lambda row: -(row.died * 1e6 + row.retried),
    Order.SLOWEST: lambda row: -(row.runtime_p95 or 0.0),
    Order.NAME: lambda _: 0.0,
}


def tasks(store: Store, period: Period, now: datetime) -> Tasks:
    """How each task did over ``period``; raises ``DatabaseUnavailable``."""
    since = now - SHAPES[period].length
    by_task: dict[str, list[TotalsRow]] = {}
    for row in journal.recent_totals(store, since):
        by_task.setdefault(row.task, []).append(row)
    return Tasks(period, since, now, tuple(_row(task, found) for task, found in by_task.items()))


def kept(services: Services, period: Period, *, timeout: float = SECONDS) -> Answer:
    """The ``tasks`` of ``period``, as old as that period allows; waits up to ``timeout`` seconds. Never raises."""
    question = partial(_now, services.store, period)
    calls = bounded_calls.of(services)
    return calls.kept(f"tasks-{period}", question, timeout=timeout, max_age=SHAPES[period].kept)


def _now(store: Store, period: Period) -> Tasks:
    return tasks(store, period, utcnow())


def _row(task: str, found: list[TotalsRow]) -> TaskRow:
    def count(*outcomes: Outcome) -> int:
        return sum(row.count for row in found if row.outcome in outcomes)

    named = (Outcome.SUCCEEDED, Outcome.RETRIED, Outcome.DEAD)
    runtimes, waits = _sum(row.runtime_buckets for row in found), _sum(row.wait_buckets for row in found)
    return TaskRow(
        task,
        tuple(sorted({row.queue for row in found})),
        count(Outcome.SUCCEEDED),
        count(Outcome.RETRIED),
        count(Outcome.DEAD),
        sum(row.count for row in found if row.outcome not in named),
        sum(row.runtime_sum for row in found),
        quantile(0.5, runtimes, BUCKETS),
        quantile(0.95, runtimes, BUCKETS),
        quantile(0.95, waits, BUCKETS),
    )


def _sum(buckets: Iterable[tuple[int, ...]]) -> list[int]:
    return [sum(each) for each in zip(*buckets, strict=True)]


__all__ = ["Order", "TaskRow", "Tasks", "kept", "tasks"]
