"""How quiet the machine is: looked at before each trial, which waits a bounded time until others leave it alone.

A look lasts half a second, in which the run itself does nothing but a fixed calculation at the end. Three things tell
of others: processor time that the hypervisor gave to other machines ("steal"), processor time of other processes, and
the time of the calculation against the shortest in this run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MOST_STEAL = 0.02
"""The share of the processor time that may be stolen."""
MOST_OTHERS = 0.1
"""The processor time of others, in cores."""
SLOWEST = 1.15
"""The time of the calculation, as a multiple of the shortest."""
LOOK_SECONDS = 0.4
CALCULATIONS, SIZE = 9, 200_000
WAIT_IN_ALL = 240.0
"""The most seconds that a run waits."""
STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Ticks:
    """The processor time of the machine so far, over all cores (the first line of ``/proc/stat``)."""

    total: int = 0
    idle: int = 0
    stolen: int = 0

    @classmethod
    def of(cls, line: str) -> Ticks:
        """``cpu  user nice system idle iowait irq softirq steal …``; user contains the guests' time."""
        user, nice, system, idle, waiting, irq, soft_irq, stolen = map(int, line.split()[1:9])
        return cls(user + nice + system + idle + waiting + irq + soft_irq + stolen, idle + waiting, stolen)

    def __sub__(self, other: Ticks) -> Ticks:
        return Ticks(self.total - other.total, self.idle - other.idle, self.stolen - other.stolen)

    @property
    def steal(self) -> float:
        """The share that the hypervisor gave to other machines."""
        return self.stolen / self.total if self.total else 0.0

    @property
    def busy(self) -> float:
        """The share in which something ran here."""
        return (self.total - self.idle - self.stolen) / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look: ``steal`` as a share, ``others`` in cores, ``slowness`` as a multiple of the shortest calculation."""

    steal: float
    others: float
    slowness: float

    @property
    def quiet(self) -> bool:
        """Whether the machine is left alone."""
        return self.steal <= MOST_STEAL and self.others <= MOST_OTHERS and self.slowness <= SLOWEST


def read() -> Ticks:
    """The ticks until now; all zero where there is no ``/proc/stat``."""
    return Ticks.of(STAT.read_text().partition("\n")[0]) if STAT.exists() else Ticks()


def calculate() -> float:
    """The seconds of a fixed calculation."""
    begun = time.perf_counter()
    total = 0
    for number in range(SIZE):
        total += number & 7
    return time.perf_counter() - begun


@dataclass
class Watch:
    """Watches the machine in one run; ``cores``: their number; ``longest``: the seconds of one wait, at most."""

    cores: int
    longest: float
    fastest: float = float("inf")
    """The shortest calculation so far, in seconds."""
    waited: float = 0.0
    """The seconds of all waits."""
    calculate: Callable[[], float] = calculate
    ticks: Callable[[], Ticks] = read
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def look(self) -> Look:
        """Look for half a second."""
        before = self.ticks()
        self.sleep(LOOK_SECONDS)
        alone = self.ticks() - before
        times = [self.calculate() for _ in range(CALCULATIONS)]
        self.fastest = min(self.fastest, *times)
        steal = (self.ticks() - before).steal
        return Look(steal, alone.busy * self.cores, statistics.median(times) / self.fastest)

    def wait(self) -> Look:
        """Return when the machine is quiet, or after the longest wait; the last look."""
        look, begun = self.look(), self.clock()
        longest = min(self.longest, WAIT_IN_ALL - self.waited)
        while not look.quiet and self.clock() - begun < longest:
            look = self.look()
        self.waited += self.clock() - begun
        return look
