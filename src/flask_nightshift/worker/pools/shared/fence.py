"""The start fence: the time until which jobs may start, in shared memory.

The parent moves it on with each confirmed renewal of its lease. A parent that is frozen or cut off moves nothing, so
its children start nothing after the lease has run out, although jobs stand in their queue.
"""

from __future__ import annotations

import time

from .memory import shared_words

OPEN = 2**64 - 1
"""No limit: where no lease can be lost."""


def now() -> int:
    """Nanoseconds that go on while the machine sleeps, the same for all processes."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Fence:
    """Open until the moment that the parent wrote last; open for ever at first."""

    def __init__(self) -> None:
        self._until = shared_words(1)
        self._until[0] = OPEN

    def open_until(self, moment: int) -> None:
        """Let jobs start until ``moment`` (nanoseconds as of ``now``)."""
        self._until[0] = moment

    def is_open(self) -> bool:
        """Whether a job may start now."""
        until = self._until[0]
        return until == OPEN or now() < until
