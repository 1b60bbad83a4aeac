"""The soft time limit in a child: an exception in the body of one certain job, and nowhere else.

An exception that a signal's handler raises while the child takes a job from the queue would lose the job. So the parent
names the ticket in the child's slot before it sends the signal, and the handler raises only if that ticket's body runs.
"""

from __future__ import annotations

import signal

from .slot import Slot

SIGNAL = signal.SIGUSR1


class SoftLimitReached(Exception):
    """The job has run for longer than its soft limit."""


class SoftLimit:
    """The handler; ``body_of`` is the ticket whose body runs now, else 0."""

    def __init__(self, slot: Slot, error: type[BaseException] = SoftLimitReached) -> None:
        self._slot = slot
        self._error = error
        self.body_of = 0

    def install(self) -> None:
        """Handle the signal in this process."""
        signal.signal(SIGNAL, self._handle)

    def _handle(self, *_: object) -> None:
        ticket = self.body_of
        if ticket and ticket == self._slot.over_soft_limit:
            self.body_of = 0  # once
            raise self._error


__all__ = ["SIGNAL", "SoftLimit", "SoftLimitReached"]
