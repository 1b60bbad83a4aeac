"""Which deliveries have begun: the server is told before they do.

Invariant: a delivery is counted when it begins, not when it is claimed. A job that ends its whole worker takes along
what was claimed behind it; those jobs have not begun, and come back uncounted. One exception: a message may end its
worker by being read. So a claim counts as a whole until the worker has told that it received all of it.

A round trip for each job would be a third of a quick job's time. So a claim notes as begun what will begin at once,
since there are free slots, and what will begin within ``SOON`` at the present pace; what is in line by then, or claimed
and not delivered yet, is noted likewise, several jobs at a time. If their worker ends before they begin, they are
counted once for nothing. That does no harm: a job that was counted once comes back as unproven, and is noted alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from time import monotonic

from ....lifetime import greenlets

SOON = 0.05
"""Seconds of work that are noted as begun ahead of time."""


class Starts:
    """The deliveries of one channel that can begin, and those that may; safe to use from several threads.

    ``coming(count)`` gives the numbers of up to ``count`` messages that will be delivered next and are not noted.
    """

    def __init__(self, coming: Callable[[int], list[int]], *, ahead: bool) -> None:
        self._coming = coming
        self._ahead = ahead
        self._pace = 0
        self._seen, self._since = 0, monotonic()
        self._line: dict[int, None] = {}
        self._noted: set[int] = set()
        self._noted_early: set[int] = set()
        self._unproven: set[int] = set()
        self._lock = greenlets.os_lock()

    def with_claim(self, free: int) -> int:
        """How many messages a claim is to note as begun, when ``free`` jobs more can run."""
        self._look_at_the_clock()
        return max(free, self._pace)

    def delivered(self, number: int, *, noted: bool, unproven: bool) -> None:
        """A message was delivered; ``noted``: the claim has noted it as begun."""
        with self._lock:
            if unproven:
                self._unproven.add(number)
            elif noted or number in self._noted_early:
                self._noted.add(number)
            else:
                self._line[number] = None

    def is_unproven(self, number: int) -> bool:
        """Whether the message had begun before and was never settled, when it was delivered."""
        return number in self._unproven

    def begin(self, number: int, note: Callable[[list[int]], bool]) -> bool:
        """The job of ``number`` begins: have ``note`` tell the server if need be; False if that refuses."""
        self._seen += 1
        if number in self._noted:
            return True
        numbers, early = self._next(number)
        if not note([*numbers, *early]):
            return False
        with self._lock:
            self._noted.update(numbers)
            self._noted_early.update(early)
            self._noted.update(
                each for each in early if self._line.pop(each, False) is None
            )  # delivered meanwhile
        return True

    def forget(self, number: int) -> None:
        """It is settled."""
        with self._lock:
            self._line.pop(number, None)
            self._noted.discard(number)
            self._unproven.discard(number)

    def _next(self, number: int) -> tuple[list[int], list[int]]:
        """``number`` and those after it that will begin soon; and more of those, which are not delivered yet."""
        with self._lock:
            self._look_at_the_clock()
            in_line = self._line.pop(number, False) is None
            more = self._pace - 1 if in_line else 0
            others = list(islice(self._line, max(more, 0)))
            for other in others:
                del self._line[other]
            coming = self._coming(more - len(others)) if more > len(others) else []
            self._noted_early.intersection_update(coming)  # others were delivered or returned
            return [number, *others], [each for each in coming if each not in self._noted_early]

    def _look_at_the_clock(self) -> None:
        elapsed = monotonic() - self._since
        if elapsed >= SOON and self._ahead:
            self._pace = int(self._seen * SOON / elapsed)
            self._seen, self._since = 0, self._since + elapsed
