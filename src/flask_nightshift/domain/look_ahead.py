"""How many jobs a worker may hold: by time, not by count. Pure.

A worker takes jobs ahead so that none of its children waits for the broker, and few, so that no job waits in a busy
worker while another worker is idle. It holds about ``AHEAD`` seconds of work for each child, reckoned from the recent
runtimes of each task. A task that was not measured yet, or a slow one, counts as a whole child. The reckoning may be
wrong, for example for a task that is nearly always fast. So what no child has taken within ``AHEAD`` goes back.
"""

from __future__ import annotations

from collections import deque

AHEAD = 0.1
"""Seconds of work that a worker holds for each child; and seconds after which jobs that no child has taken go back."""
REMEMBERED = 50
"""Runs of a task, and jobs that arrived, from which the next ones are reckoned."""
MEASURED = 5
"""Runs of a task from which on it counts as measured."""
MOST_BYTES = 16 * 1024 * 1024
"""Bytes of messages that a worker holds ahead of their start."""
MOST_JOBS = 300
"""Jobs that a worker holds, each of 6 KB: enough for 10 ms without the broker. More leave the processor's cache."""


class ByTime(int):
    """The prefetch multiplier of a worker that looks ahead by time; Celery takes it for the number.

    A user's number is a plain ``int``, and means what it means in Celery.
    """


class Runtimes:
    """The last runs of one task, in seconds."""

    __slots__ = ("_cost", "_new", "_runs")

    def __init__(self) -> None:
        self._runs: deque[float] = deque(maxlen=REMEMBERED)
        self._cost = AHEAD
        self._new = 0

    def add(self, seconds: float) -> None:
        """It has run once more."""
        self._runs.append(seconds)
        self._new += 1
        if self._new >= MEASURED or seconds > self._cost:
            self._reckon()

    @property
    def cost(self) -> float:
        """Seconds that a run is expected to take: the greater of mean and 90th percentile, ``AHEAD`` at the most."""
        return self._cost

    def _reckon(self) -> None:
        self._new = 0
        if len(self._runs) < MEASURED:
            return
        runs = sorted(self._runs.copy())  # other threads may add to it
        self._cost = min(AHEAD, max(sum(runs) / len(runs), runs[int(0.9 * len(runs))]))


class LookAhead:
    """Learns from the jobs that arrive and end how many a worker may hold."""

    def __init__(self) -> None:
        self._tasks: dict[str, Runtimes] = {}
        self._arrived: deque[tuple[float, int]] = deque(maxlen=REMEMBERED)
        self._seconds, self._bytes = 0.0, 0

    def arrived(self, task: str, size: int, *, limited: bool = False) -> None:
        """A job of ``task`` arrived, in a message of ``size`` bytes. ``limited``: it has a rate limit."""
        known = self._tasks.get(task)
        cost = AHEAD if limited or known is None else known.cost
        if len(self._arrived) == REMEMBERED:
            seconds, gone = self._arrived[0]
            self._seconds -= seconds
            self._bytes -= gone
        self._arrived.append((cost, size))
        self._seconds += cost
        self._bytes += size

    def ended(self, task: str, seconds: float) -> None:
        """A job of ``task`` has run for so long."""
        known = self._tasks.get(task)
        if known is None:
            known = self._tasks[task] = Runtimes()
        known.add(seconds)

    def window(self, children: int, busy: int) -> int:
        """How many jobs the worker may hold, running ones included.

        ``busy`` of its ``children`` have run the same job for longer than ``AHEAD``: nothing is taken ahead for them.
        """
        free = children - busy
        if free <= 0 or not self._arrived:
            return children
        count = len(self._arrived)
        ahead = free * AHEAD / max(self._seconds / count, 1e-5)
        most = MOST_BYTES / max(self._bytes / count, 1.0)
        return busy + max(free, int(min(ahead, most, MOST_JOBS) + 1e-6))


__all__ = ["AHEAD", "MOST_JOBS", "ByTime", "LookAhead", "Runtimes"]
