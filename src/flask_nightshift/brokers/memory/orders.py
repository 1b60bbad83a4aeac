"""Orders for the workers of ``memory://``, kept by its server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ...domain.orders import Ordered, Pause
from ...domain.tombstones import Tombstone
from .held_orders import HeldOrders
from .server import MemoryServer

T = TypeVar("T")


class MemoryOrders:
    """``ask(question)`` calls ``question(server)`` and turns its errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[MemoryServer], Any]], Any]) -> None:
        self._ask = ask

    def read(self, since: int) -> Ordered | None:
        """What is ordered; None if ``since`` is the number of the last order."""
        return self._of(lambda orders: orders.read(since), changes=False)

    def pause(self, pause: Pause) -> Pause | None:
        """Pause a queue; returns its former pause."""
        return self._of(lambda orders: orders.pause(pause))

    def resume(self, queue: str) -> Pause | None:
        """End a pause, and return it."""
        return self._of(lambda orders: orders.resume(queue))

    def pauses(self) -> dict[str, Pause]:
        """The paused queues, by name."""
        return self._of(lambda orders: dict(sorted(orders.pauses.items())), changes=False)

    def cancel(self, tombstones: Sequence[Tombstone]) -> None:
        """Place tombstones."""
        if tombstones:
            self._of(lambda orders: orders.cancel(tombstones))

    def tombstones(self) -> list[Tombstone]:
        """All of them."""
        return self._of(lambda orders: [each for _, each in orders.tombstones], changes=False)

    def count_tombstones(self) -> int:
        """How many there are."""
        return len(self.tombstones())

    def remove_tombstones(self, tombstones: Sequence[Tombstone]) -> None:
        """Remove tombstones."""
        self._of(lambda orders: orders.remove_tombstones(tombstones))

    def _of(self, question: Callable[[HeldOrders], T], *, changes: bool = True) -> T:
        found: T = self._ask(lambda server: server.ordered(question, changes=changes))
        return found


__all__ = ["MemoryOrders"]
