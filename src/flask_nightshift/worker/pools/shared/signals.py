"""A child's signal handlers: they raise in the body of a job or while the child waits for one, and nowhere else.

An exception that a handler raises while the child takes a job from the queue would lose the job. For the soft limit the
parent names the ticket in the child's slot before it sends the signal, and the handler raises only in that ticket's
body, once. SIGTERM (and what else asks for an end) has the body clean up (``SystemExit``) each time, also after a soft
limit. It also ends the wait for a job; a job that the child has taken just then is handed out again, because the child
ends. At any other moment the child finishes what it does, and then ends.
"""

from __future__ import annotations

import signal

from .slot import Slot

SOFT_LIMIT = signal.SIGUSR1
ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""The signals that end a child, and have the body that it runs clean up, unless they are ignored."""


class SoftLimitReached(Exception):
    """The job has run for longer than its soft limit."""


class ToldToEnd(BaseException):
    """The process was told to end while it waited for a job."""


class Signals:
    """The handlers. ``body_of`` is the ticket whose body runs now, else 0. ``waits``: the child waits for a job."""

    def __init__(self, slot: Slot, soft_limit: type[BaseException]) -> None:
        self._slot = slot
        self._soft_limit = soft_limit
        self.body_of = self._limited = 0
        self.waits = False
        self.told_to_end = 0
        """The number of the signal that told this child to end; 0 for none."""

    def install(self) -> None:
        """Handle the signals in this process."""
        signal.signal(SOFT_LIMIT, self._on_soft_limit)
        for signum in ENDS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                signal.signal(signum, self._on_end)

    def begin_body(self, ticket: int) -> None:
        """The body of ``ticket`` begins. Raises what a signal that came since the child took it asks for."""
        self.body_of = ticket
        if self.told_to_end:
            raise ToldToEnd
        self._on_soft_limit()

    def _on_soft_limit(self, *_: object) -> None:
        ticket = self.body_of
        if ticket and ticket == self._slot.over_soft_limit != self._limited:
            self._limited = ticket  # once
            raise self._soft_limit

    def _on_end(self, signum: int, _: object) -> None:
        waits = self.waits
        self.waits, self.told_to_end = False, signum
        if self.body_of:
            raise SystemExit(signum)
        if waits:
            raise ToldToEnd


__all__ = ["SOFT_LIMIT", "Signals", "SoftLimitReached", "ToldToEnd"]
