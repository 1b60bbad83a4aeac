"""How many jobs wait in the children's queue: a moment's work.

A child takes the next job from the queue at once; with an empty queue it would wait for a turn of its parent. Jobs in
the queue count as started (invariant 3), so there are few of them, and none if jobs are slow.
"""

from __future__ import annotations

from collections import deque

MOMENT = 0.02
"""Seconds of work that wait in the queue at the most."""
MOST = 64
"""Jobs that wait in the queue for each child at the most."""
REMEMBERED = 50


class Ahead:
    """Learns from the runtimes of jobs how many to hand out in advance."""

    def __init__(self) -> None:
        self._runtimes: deque[float] = deque(maxlen=REMEMBERED)
        self._slowest = 0.0

    def ended(self, seconds: float) -> None:
        """A job has ended that ran for ``seconds``."""
        runtimes = self._runtimes
        gone = runtimes[0] if len(runtimes) == REMEMBERED else 0.0
        runtimes.append(seconds)
        if seconds >= self._slowest:
            self._slowest = seconds
        elif gone >= self._slowest:
            self._slowest = max(runtimes)

    def jobs(self, children: int) -> int:
        """How many jobs may wait for ``children``, if each is as slow as the slowest of the last ones."""
        if len(self._runtimes) < REMEMBERED:
            return 0
        return children * min(MOST, int(MOMENT / max(self._slowest, 1e-6)))


__all__ = ["Ahead"]
