"""How many jobs stand in the children's queue beside those that run: as many as are done in a moment.

A child takes the next job from the queue at once; if there were none, it would wait for a turn of its parent. What
stands there has been counted as begun (invariant 3), so it is little, and nothing where jobs are slow.
"""

from __future__ import annotations

from collections import deque

MOMENT = 0.02
"""Seconds of work that stand in the queue at the most."""
MOST = 64
"""Jobs for each child that stand in the queue at the most."""
REMEMBERED = 50


class Ahead:
    """Learns from the jobs that end how many more to hand out."""

    def __init__(self) -> None:
        self._runtimes: deque[float] = deque(maxlen=REMEMBERED)
        self._slowest = 0.0

    def ended(self, seconds: float) -> None:
        """A job has ended that ran for so long."""
        runtimes = self._runtimes
        gone = runtimes[0] if len(runtimes) == REMEMBERED else 0.0
        runtimes.append(seconds)
        if seconds >= self._slowest:
            self._slowest = seconds
        elif gone >= self._slowest:
            self._slowest = max(runtimes)

    def jobs(self, children: int) -> int:
        """How many jobs stand in the queue for so many children, if each is as slow as the slowest of the last ones."""
        if len(self._runtimes) < REMEMBERED:
            return 0
        return children * min(MOST, int(MOMENT / max(self._slowest, 1e-6)))


__all__ = ["Ahead"]
