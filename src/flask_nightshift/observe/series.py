"""How many attempts ended over time, and how long they ran and waited, for charts.

Totals become coarser with age (``journal/folding.py``), so a chart that goes back two days has a point for each minute
at best, one that goes back sixty days a point for each hour, and an older one a point for each day (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from .. import journal
from ..domain.job import Outcome, utcnow
from ..services import Services

OTHERS = "others"
"""The name of the line that has what the named ones do not."""
MOST_LINES = 20
MOST_POINTS = 3_000
"""Points of each line; more make the steps longer."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Point:
    """The attempts that ended in the step that begins ``at``; ``mean_runtime`` and ``mean_wait`` in seconds.

    A mean is None if no attempt was measured.
    """

    at: datetime
    count: int = 0
    mean_runtime: float | None = None
    mean_wait: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Lines by name, each with a point for every ``step`` from ``since`` until ``until``.

    The last step may not be over yet. Without ``by`` there is one line, whose name is empty.
    """

    since: datetime
    until: datetime
    step: timedelta
    lines: dict[str, list[Point]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """``{since, until, step_seconds, at: […], lines: {name: {count: […], mean_runtime: […], mean_wait: […]}}}``."""
        points = next(iter(self.lines.values()), [])
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "step_seconds": self.step.total_seconds(),
            "at": [point.at.isoformat() for point in points],
            "lines": {
                name: {
                    "count": [point.count for point in line],
                    "mean_runtime": [point.mean_runtime for point in line],
                    "mean_wait": [point.mean_wait for point in line],
                }
                for name, line in self.lines.items()
            },
        }


def series(
    services: Services,
    since: datetime,
    until: datetime | None = None,
    *,
    task: str | None = None,
    queue: str | None = None,
    outcome: Outcome | str | None = None,
    by: Literal["task", "queue", "outcome"] | None = None,
    step: timedelta | None = None,
) -> Series:
    """The attempts of ``task``, in ``queue``, with ``outcome``, that ended from ``since`` until ``until`` (now).

    ``by`` gives a line for each task, queue or outcome: the ``MOST_LINES`` with most attempts, and one for all others.
    Steps have the length ``step``, or the next longer one that the rows since then can tell apart; without ``step``,
    the shortest. Raises ``DatabaseUnavailable``, and ``ValueError`` for an unknown outcome.
    """
    now = utcnow()
    until = min(until or now, now)
    only = {"task": task, "queue": queue, "outcome": None if outcome is None else Outcome(outcome).value}
    step = _step(since, until, now, step)
    begin = _start(since, step)
    wanted = {name: value for name, value in only.items() if value is not None}
    found = journal.series.sums(services.store, begin, until, wanted, by)
    lines = {} if by else {"": _Line()}
    for sums in found:
        lines.setdefault(sums.label, _Line()).add(_start(sums.at, step), sums)
    steps = [begin + number * step for number in range(_count(begin, until, step))]
    return Series(begin, until, step, {name: line.points(steps) for name, line in _most(lines).items()})


def _step(since: datetime, until: datetime, now: datetime, wanted: timedelta | None) -> timedelta:
    finest = journal.series.finest(since, now)
    least = max(finest, wanted or finest, (until - since) / MOST_POINTS)
    return -(-least // finest) * finest


def _count(begin: datetime, until: datetime, step: timedelta) -> int:
    return max(0, -(-(until - begin) // step))


def _start(moment: datetime, step: timedelta) -> datetime:
    return moment.astimezone(UTC) - (moment - EPOCH) % step


class _Line:
    """The sums of one line, by step."""

    def __init__(self) -> None:
        self.steps: dict[datetime, journal.series.Sums] = {}
        self.count = 0

    def add(self, at: datetime, sums: journal.series.Sums) -> None:
        known = self.steps.get(at)
        self.steps[at] = sums if known is None else _added(known, sums)
        self.count += sums.ended

    def merge(self, other: _Line) -> None:
        for at, sums in other.steps.items():
            self.add(at, sums)

    def points(self, steps: Iterable[datetime]) -> list[Point]:
        return [_point(at, self.steps.get(at)) for at in steps]


def _most(lines: dict[str, _Line]) -> dict[str, _Line]:
    """The lines with most attempts, in the order of their names, and one of all others.

    A task or queue that is itself named ``OTHERS`` counts among the others.
    """
    if len(lines) <= MOST_LINES:
        return dict(sorted(lines.items()))
    in_order = sorted(lines, key=lambda name: (name == OTHERS, -lines[name].count, name))
    rest = _Line()
    for name in in_order[MOST_LINES:]:
        rest.merge(lines[name])
    return {name: lines[name] for name in sorted(in_order[:MOST_LINES])} | {OTHERS: rest}


def _added(one: journal.series.Sums, other: journal.series.Sums) -> journal.series.Sums:
    return journal.series.Sums(
        one.at,
        one.label,
        one.ended + other.ended,
        one.runtime + other.runtime,
        one.measured + other.measured,
        one.wait + other.wait,
        one.waited + other.waited,
    )


def _point(at: datetime, sums: journal.series.Sums | None) -> Point:
    if sums is None:
        return Point(at)
    ran = sums.runtime / sums.measured if sums.measured else None
    waited = sums.wait / sums.waited if sums.waited else None
    return Point(at, sums.ended, ran, waited)


__all__ = ["MOST_LINES", "MOST_POINTS", "OTHERS", "Point", "Series", "series"]
