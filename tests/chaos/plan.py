"""Plans a trial in advance: the same seed gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from .faults import FACTS, Fault, faults_of

MOST_DURING_MIXED = 0.4
"""The share of a mixed trial's jobs that is enqueued at once, so that all prefetch is full."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job: the ``seconds`` that it works, the attempts that fail first, whether it kills its worker."""

    id: str
    seconds: float = 0.0
    failures: int = 0
    poison: bool = False

    @property
    def doomed(self) -> bool:
        """It must end as a dead letter."""
        return self.poison or self.failures >= ALWAYS


ALWAYS = 99
"""So many failures are more than any retry policy here allows."""


@dataclass(frozen=True, slots=True)
class Step:
    """One planned blow. ``pick`` in [0, 1) chooses the victim among the consuming workers."""

    fault: Fault
    pick: float


@dataclass(frozen=True)
class Plan:
    """One trial: the broker must accept ``jobs`` jobs; a quick fault is injected ``kills`` times."""

    fault: Fault
    broker: str
    jobs: int
    kills: int
    seed: int

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The blows in their order; a retry storm needs none."""
        rng = self._rng("steps")
        return tuple(Step(fault, rng.random()) for fault in self._faults(rng))

    def _faults(self, rng: random.Random) -> list[Fault]:
        if self.fault is Fault.RETRY_STORM:
            return []
        if self.fault is not Fault.MIXED:
            often = max(1, self.kills // 3) if FACTS[self.fault].slow else self.kills
            return [self.fault] * often
        kinds: list[Fault] = [
            kind for kind in faults_of(self.broker) if kind not in (Fault.MIXED, Fault.RETRY_STORM)
        ]
        more = [rng.choice(kinds) for _ in range(self.kills - len(kinds))]
        rng.shuffle(kinds)
        return kinds[: max(self.kills, 1)] + more

    def candidates(self) -> Iterator[Job]:
        """An endless series of jobs; one that the broker refuses is not tried again."""
        rng = self._rng("jobs")
        number = 0
        while True:
            number += 1
            yield Job(f"{self.fault.value}.{self.broker}.{number}", self._seconds(rng), self._failures(rng))

    def poison(self, number: int) -> Job:
        """A job that kills its worker."""
        return Job(f"{self.fault.value}.{self.broker}.poison-{number}", poison=True)

    def quotas(self) -> list[int]:
        """The number of jobs that must be accepted by each blow, and by the end."""
        phases = len(self.steps) + 1
        first = int(self.jobs * MOST_DURING_MIXED) if self.fault is Fault.MIXED else 0
        return [first + (self.jobs - first) * number // phases for number in range(1, phases + 1)]

    def _seconds(self, rng: random.Random) -> float:
        low, high = (0.1, 0.5) if self.fault is Fault.MIXED else (0.02, 0.08)
        return round(rng.uniform(low, high), 3)

    def _failures(self, rng: random.Random) -> int:
        storm = self.fault is Fault.RETRY_STORM or (self.fault is Fault.MIXED and rng.random() < 0.1)
        if not storm:
            return 0
        return ALWAYS if rng.random() < 0.05 else rng.randint(0, 3)

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self.seed} {self.fault.value} {self.broker} {what}")
