"""How the system did over the last hour, day or 30 days: ends, deaths, waits and runtimes as points, and deploys.

The totals of an hour are read each time, those of longer periods are kept in the process for a while: the last value is
shown while a new one is computed. The first look at one period has the others computed, too, behind the page.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import add
from typing import Any, NamedTuple

from .. import journal
from ..domain.job import utcnow
from ..journal import BUCKETS
from ..services import Services
from ..store import Store, deploys
from ..store.deploys import Deploy
from . import bounded_calls
from .bounded_calls import Answer, BoundedCalls
from .quantiles import quantile

SECONDS = 1.0
"""The time limit in seconds for a trend that this process has not computed before."""
HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Period(enum.StrEnum):
    """How far back a trend goes."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class _Shape(NamedTuple):
    """The length of a period and of its steps, and for how many seconds its trend is kept."""

    length: timedelta
    step: timedelta
    kept: float


SHAPES = {
    Period.HOUR: _Shape(timedelta(hours=1), timedelta(minutes=1), 2.0),
    Period.DAY: _Shape(timedelta(days=1), timedelta(minutes=10), 60.0),
    Period.MONTH: _Shape(timedelta(days=30), timedelta(hours=6), 600.0),
}


@dataclass(frozen=True, slots=True)
class Point:
    """The attempts that ended in the step that begins ``at``.

    ``ended`` has those that ``succeeded``, ``retried``, ``died`` and all others. The quantiles are in seconds, None if
    none was measured; a wait counts in the step in which its attempt ended.
    """

    at: datetime
    ended: int = 0
    succeeded: int = 0
    retried: int = 0
    died: int = 0
    wait_p50: float | None = None
    wait_p95: float | None = None
    runtime_p50: float | None = None
    runtime_p95: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The point in plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Trend:
    """A point for every ``step`` from ``since`` until ``until``, one for all of it, and the deploys within.

    The last step is not over yet.
    """

    period: Period
    since: datetime
    until: datetime
    step: timedelta
    points: list[Point] = field(default_factory=list)
    whole: Point = field(default_factory=lambda: Point(EPOCH))
    deploys: list[Deploy] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The trend in plain JSON types."""
        return {
            "period": str(self.period),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "step_seconds": self.step.total_seconds(),
            "points": [point.as_dict() for point in self.points],
            "whole": self.whole.as_dict(),
            "deploys": [{"version": deploy.version, "at": deploy.at.isoformat()} for deploy in self.deploys],
        }


def trend(store: Store, period: Period, now: datetime) -> Trend:
    """How it went over ``period``; raises ``DatabaseUnavailable``."""
    shape = SHAPES[period]
    since = _start(now - shape.length, shape.step) + shape.step
    found = journal.series.spreads(store, since, now + shape.step, min(shape.step, HOUR))
    sums: dict[datetime, _Sums] = {}
    whole = _Sums()
    for spread in found:
        at = _start(spread.at, shape.step)
        sums.setdefault(at, _Sums()).add(spread)
        whole.add(spread)
    steps = -(-(now - since) // shape.step)
    points = [_point(since + number * shape.step, sums) for number in range(max(1, steps))]
    seen = [deploy for deploy in deploys.since(store, since) if deploy.at <= now]
    return Trend(period, since, now, shape.step, points, whole.point(since), seen)


def kept(services: Services, period: Period, *, timeout: float = SECONDS) -> Answer:
    """The ``trend`` over ``period``, as old as that period allows; waits up to ``timeout`` seconds. Never raises."""
    calls = bounded_calls.of(services)
    answer = _ask(calls, services, period, timeout)
    for other in Period:
        if not calls.was_asked(_name(other)):
            _ask(calls, services, other, 0.0)
    return answer


def _ask(calls: BoundedCalls, services: Services, period: Period, timeout: float) -> Answer:
    question = partial(_now, services.store, period)
    return calls.kept(_name(period), question, timeout=timeout, max_age=SHAPES[period].kept)


def _name(period: Period) -> str:
    return f"trend-{period}"


def _now(store: Store, period: Period) -> Trend:
    return trend(store, period, utcnow())


class _Sums:
    """The attempts of a step."""

    def __init__(self) -> None:
        self.ended = self.succeeded = self.retried = self.died = 0
        self.runtime = [0] * (len(BUCKETS) + 1)
        self.wait = [0] * (len(BUCKETS) + 1)

    def add(self, spread: journal.series.Spread) -> None:
        self.ended += spread.ended
        self.succeeded += spread.succeeded
        self.retried += spread.retried
        self.died += spread.died
        self.runtime = _plus(self.runtime, spread.runtime)
        self.wait = _plus(self.wait, spread.wait)

    def point(self, at: datetime) -> Point:
        return Point(
            at,
            self.ended,
            self.succeeded,
            self.retried,
            self.died,
            *(
                quantile(share, buckets, BUCKETS)
                for buckets in (self.wait, self.runtime)
                for share in (0.5, 0.95)
            ),
        )


def _plus(one: Iterable[int], other: Iterable[int]) -> list[int]:
    return list(map(add, one, other))


def _point(at: datetime, sums: dict[datetime, _Sums]) -> Point:
    return sums[at].point(at) if at in sums else Point(at)


def _start(moment: datetime, step: timedelta) -> datetime:
    return moment.astimezone(UTC) - (moment - EPOCH) % step


__all__ = ["SHAPES", "Period", "Point", "Trend", "kept", "trend"]
