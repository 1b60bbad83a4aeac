"""The time limits of one job that runs: which is reached, and when the next one will be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum


class Limit(Enum):
    """What can be reached."""

    SOFT = "soft limit"
    HARD = "hard limit"


@dataclass(slots=True, eq=False)
class Limits:
    """The moments at which the limits are reached, in seconds; infinite if there is none or it was reported."""

    soft: float = math.inf
    hard: float = math.inf

    @classmethod
    def of(cls, started: float, soft: float | None, hard: float | None) -> Limits:
        """The limits of a job that runs since ``started``. A soft limit that is not below the hard one is ignored."""
        if soft and hard and soft >= hard:
            soft = None
        return cls(started + soft if soft else math.inf, started + hard if hard else math.inf)

    @property
    def next(self) -> float:
        """When ``reached`` has something to tell."""
        return min(self.soft, self.hard)

    def reached(self, now: float) -> Limit | None:
        """The limit that is reached by ``now``, once; the hard one if both are."""
        if self.hard <= now:
            self.soft = self.hard = math.inf
            return Limit.HARD
        if self.soft <= now:
            self.soft = math.inf
            return Limit.SOFT
        return None


UNLIMITED = Limits()
"""Never reached, so never changed."""

__all__ = ["UNLIMITED", "Limit", "Limits"]
