"""Which ticks of a fixed series are due, and which of them run: a pure decision.

Ticks are computed from the last one that was dealt with, never from when a Beat looked. So a Beat that lags runs each
of them, and any number of Beats compute the same ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

ON_TIME = timedelta(seconds=10)
"""A tick that is late by more was missed, in a downtime of Beat or of the broker; ``catch_up`` decides about it."""
MOST = 1000
"""Maximum number of missed ticks that ``catch_up="all"`` runs: the latest ones."""
SKIP, ONCE, ALL = "skip", "once", "all"

Series = Callable[[datetime], datetime | None]
"""The first moment after another one; None if there is none."""
_FIRST_LOOK = timedelta(seconds=1)


class Due(NamedTuple):
    """What is due: the ticks to run, in order; until when all ticks are dealt with then; and the tick after that.

    ``missed``: some tick gets no job of its own, because it was missed.
    """

    run: tuple[datetime, ...]
    through: datetime
    next_at: datetime | None
    missed: bool = False


def due(
    series: Series, last: datetime, now: datetime, catch_up: str = ONCE, deadline: timedelta | None = None
) -> Due:
    """The ticks after ``last`` until ``now``.

    If none was missed, each runs. Else ``skip`` runs only those that are on time, ``once`` runs the latest one for all,
    and ``all`` runs the latest ``MOST``. A tick that is later than ``deadline`` never runs.
    """
    first = series(last)
    if first is None or first > now:
        return Due((), last, first)
    through = latest(series, last, now)
    if first >= now - ON_TIME:
        run = tuple(between(series, last, through))
    elif catch_up == ALL:
        run = tuple(most_recent(series, last, through, MOST))
    elif catch_up == ONCE:
        run = (through,)
    else:
        run = tuple(between(series, max(last, now - ON_TIME - _FIRST_LOOK), through))
        run = tuple(at for at in run if at >= now - ON_TIME)
    if deadline is not None:
        run = tuple(at for at in run if at >= now - deadline)
    return Due(run, through, series(through), missed=not run or run[0] != first)


def between(series: Series, after: datetime, until: datetime) -> Iterator[datetime]:
    """The moments after ``after`` until ``until``, in order."""
    at = series(after)
    while at is not None and at <= until:
        yield at
        at = series(at)


def latest(series: Series, last: datetime, now: datetime) -> datetime:
    """The latest moment until ``now``, of which there is one after ``last``; looks back in steps, not over all."""
    return _last_of(between(series, _begin(series, last, now, 1), now))


def most_recent(series: Series, last: datetime, until: datetime, most: int) -> deque[datetime]:
    """The latest ``most`` moments after ``last`` until ``until``, in order."""
    return deque(between(series, _begin(series, last, until, most), until), maxlen=most)


def _begin(series: Series, last: datetime, until: datetime, wanted: int) -> datetime:
    """A moment, ``last`` or later, after which there are at least ``wanted`` moments, or all."""
    back = _FIRST_LOOK
    while until - back > last:
        begin = until - back
        if sum(1 for _, _ in zip(range(wanted), between(series, begin, until), strict=False)) == wanted:
            return begin
        back *= 2
    return last


def _last_of(moments: Iterator[datetime]) -> datetime:
    return deque(moments, maxlen=1)[0]


__all__ = [
    "ALL",
    "MOST",
    "ONCE",
    "ON_TIME",
    "SKIP",
    "Due",
    "Series",
    "between",
    "due",
    "latest",
    "most_recent",
]
