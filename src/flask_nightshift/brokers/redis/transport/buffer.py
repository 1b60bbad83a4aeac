"""Messages in one lease that were not delivered yet.

A pool that runs jobs in the thread of the event loop (``solo``) leaves them here while a job runs. Then the thread that
keeps the lease returns them to their queues: another worker may be free. Invariant: each is taken exactly once, to be
delivered or to be returned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from time import monotonic
from typing import Generic, Protocol, TypeVar

from ....domain.look_ahead import AHEAD


class Leased(Protocol):
    """A message in the lease."""

    @property
    def number(self) -> int:
        """Its number in the lease."""


M = TypeVar("M", bound=Leased)


class Buffer(Generic[M]):
    """The messages in their order. One thread delivers them; one other thread may return them."""

    def __init__(self) -> None:
        self._waiting: deque[M] = deque()
        self._leaving: list[M] = []
        self._moved_at = monotonic()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, claimed: Iterable[M]) -> None:
        """They wait to be delivered."""
        self._moved_at = monotonic()
        self._waiting.extend(claimed)

    def take(self) -> M | None:
        """The next one, to be delivered; None if there is none."""
        self._moved_at = monotonic()
        try:
            return self._waiting.popleft()  # atomic, as in ``leave``
        except IndexError:
            return None

    def next(self, count: int) -> list[M]:
        """The next ``count`` of them, or fewer; they stay."""
        return list(islice(self._waiting, count))  # atomic too: nothing of Python runs in between

    def put_back(self, claimed: M) -> None:
        """It could not be delivered, and is the next one again."""
        self._waiting.appendleft(claimed)

    # for the thread that returns them
    def due_in(self) -> float | None:
        """Seconds until they are to be returned, because none was delivered for ``AHEAD``; None if there are none."""
        if self._leaving:
            return 0.0
        return self._moved_at + AHEAD - monotonic() if self._waiting else None

    def leave(self) -> list[int]:
        """The numbers of those that are to be returned: none of them will be delivered, even if the return fails."""
        while self._waiting:
            try:
                self._leaving.append(self._waiting.popleft())
            except IndexError:  # the last one was taken meanwhile
                break
        return [claimed.number for claimed in self._leaving]

    def left(self) -> None:
        """They have been returned."""
        self._leaving.clear()


__all__ = ["Buffer"]
