"""How many jobs wait in the children's queue: a moment's work.

A child takes the next job from the queue at once; with an empty queue it would wait for a turn of its parent. Jobs in
the queue count as started (invariant 3), so there are few of them, and none if jobs are slow.
"""

from __future__ import annotations

from ...domain.look_ahead import AHEAD, Runtimes

MOMENT = 0.02
"""Seconds of work that wait in the queue at the most."""
MOST = 64
"""Jobs that wait in the queue for each child at the most."""


class Ahead:
    """Learns from the runtimes of jobs how many to hand out in advance."""

    def __init__(self) -> None:
        self._runtimes = Runtimes()

    def ended(self, seconds: float) -> None:
        """A job has ended that ran for ``seconds``."""
        self._runtimes.add(seconds)

    def jobs(self, children: int) -> int:
        """How many jobs may wait for ``children``, if each takes as long as the last ones of all tasks."""
        cost = self._runtimes.cost
        return children * min(MOST, int(MOMENT / max(cost, 1e-6))) if cost < AHEAD else 0


__all__ = ["Ahead"]
