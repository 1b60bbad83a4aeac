"""The time limits of the attempts that run in child processes, with one timer for all of them.

Celery sets a timer for each job and keeps it until it is due, long after the job has ended: with a limit of five
minutes and a thousand jobs a second, 300,000 of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any


@dataclass(frozen=True, slots=True)
class Limit:
    """When a job has used up its soft limit (its hard one, if ``soft`` is false); ``left``: seconds from the soft limit
    to the hard one, if it has both.
    """

    at: float
    soft: bool
    left: float | None = None


class TimeLimits:
    """Watches the jobs between ``begin`` and ``end``; ``reached(job, soft)`` is told of each limit once."""

    def __init__(self, reached: Callable[[int, bool], Any]) -> None:
        self._reached = reached
        self._limits: dict[int, Limit] = {}
        self._call_later: Callable[..., Any] | None = None
        self._armed = math.inf

    def use(self, call_later: Callable[..., Any]) -> None:
        """Set timers with ``call_later(seconds, function)`` from now on.

        Called with each new connection to the broker: Celery cancels the timers that were set while it made the
        last one, so ours may be gone.
        """
        self._call_later = call_later
        self._armed = math.inf
        self._look()

    def begin(self, job: int, soft: float | None, hard: float | None) -> None:
        """``job`` begins, and may run for so many seconds; None is without end."""
        if soft and not (hard and hard < soft):  # a producer without Nightshift may send such a pair
            self._set(job, Limit(monotonic() + soft, True, hard - soft if hard else None))
        elif hard:
            self._set(job, Limit(monotonic() + hard, False))

    def end(self, job: int) -> None:
        """``job`` has ended."""
        self._limits.pop(job, None)

    def _set(self, job: int, limit: Limit) -> None:
        self._limits[job] = limit
        if limit.at < self._armed and self._call_later is not None:
            self._armed = limit.at
            self._call_later(max(0.0, limit.at - monotonic()), self._look)

    def _look(self) -> None:
        """A timer is due: act on the limits that are reached, and set the timer for the next one."""
        self._armed = math.inf
        now = monotonic()
        due = [(job, limit) for job, limit in self._limits.items() if limit.at <= now]
        for job, limit in due:
            del self._limits[job]
            if limit.left is not None:
                self._set(job, Limit(limit.at + limit.left, False))
        if self._limits:
            self._set(*min(self._limits.items(), key=lambda each: each[1].at))
        for job, limit in due:  # last: whatever it raises, the timer is set
            self._reached(job, limit.soft)
