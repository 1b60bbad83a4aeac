"""A child's slot: which ticket it has in its hands, and how far it is with it. The child writes, the parent reads.

The word is one number, so what a reader sees was true at one moment. A child overwrites it with its next ticket only
after the end of the job before is in its ring: who reads the slots first and the rings then misses neither.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .memory import barrier, shared_words


class Phase(IntEnum):
    """How far a child is with a job."""

    NONE = 0
    MARKED = 1
    """It has the job, and looks whether it may start."""
    RUNS = 2
    """It has looked; from here on its death is the job's."""
    RETURNED = 3
    """The body has returned, and its job must not run again; the ring may not say so yet."""


class Mark(NamedTuple):
    """What a slot says. ``started``: nanoseconds of the monotonic clock, 0 before ``RUNS``."""

    child: int
    ticket: int
    phase: Phase
    started: int


BUSY = frozenset({Phase.MARKED, Phase.RUNS})
"""The phases in which a child is not free."""
_PHASES = tuple(Phase)
_SLOT, _STARTED, _SOFT, _UP, _LEAVE = range(5)


class Slot:
    """The words that a child shares with its parent."""

    def __init__(self) -> None:
        self._words = shared_words(5)

    # -- the child's side ----------------------------------------------------------------------------------

    def mark(self, ticket: int) -> None:
        """Say that ``ticket`` is in the child's hands; what is read afterwards is read later."""
        barrier()
        self._words[_SLOT] = ticket << 2 | Phase.MARKED
        barrier()

    def run(self, ticket: int, started: int) -> None:
        """Say that the body runs from now on."""
        self._words[_STARTED] = started
        barrier()
        self._words[_SLOT] = ticket << 2 | Phase.RUNS

    def end(self, ticket: int) -> None:
        """Say that the body has returned."""
        self._words[_SLOT] = ticket << 2 | Phase.RETURNED

    def clear(self) -> None:
        """Say that the child has refused the job that it marked, after its ring says so."""
        barrier()
        self._words[_SLOT] = 0

    def up(self) -> None:
        """Say that the child is ready for jobs."""
        self._words[_UP] = 1

    @property
    def leaves(self) -> bool:
        """Whether the child was asked to leave."""
        return bool(self._words[_LEAVE])

    @property
    def over_soft_limit(self) -> int:
        """The ticket whose soft limit was reached last; 0 if none."""
        return self._words[_SOFT]

    # -- the parent's side ---------------------------------------------------------------------------------

    def read(self, child: int) -> Mark | None:
        """What the slot of process ``child`` says; None if nothing yet."""
        word = self._words[_SLOT]
        if not word:
            return None
        phase = _PHASES[word & 3]
        started = 0
        if phase >= Phase.RUNS:
            barrier()
            started = self._words[_STARTED]
            barrier()
            if self._words[_SLOT] >> 2 != word >> 2:  # it has gone on, and the time is another job's
                return self.read(child)
        return Mark(child, word >> 2, phase, started)

    def leave(self) -> None:
        """Ask the child to leave; it looks after each job, and when it is nudged."""
        self._words[_LEAVE] = 1

    def reach_soft_limit(self, ticket: int) -> None:
        """Have the child's handler raise if it still runs ``ticket`` when the signal comes."""
        self._words[_SOFT] = ticket

    @property
    def is_up(self) -> bool:
        """Whether the child has said that it is ready."""
        return bool(self._words[_UP])


__all__ = ["BUSY", "Mark", "Phase", "Slot"]
