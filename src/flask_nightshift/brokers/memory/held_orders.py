"""What a ``MemoryServer`` keeps of the orders for all workers; the server's lock guards it."""

from __future__ import annotations

from collections.abc import Sequence

from ...domain.orders import Ordered, Pause
from ...domain.tombstones import Tombstone


class HeldOrders:
    """The paused queues, the tombstones of cancelled jobs, and the number of the last order."""

    def __init__(self) -> None:
        self.number = 0
        self.pauses: dict[str, Pause] = {}
        self.tombstones: list[tuple[int, Tombstone]] = []

    def read(self, since: int) -> Ordered | None:
        """What is ordered; None if ``since`` is the number of the last order."""
        if self.number == since:
            return None
        new = [each for number, each in self.tombstones if number > since]
        return Ordered(number=self.number, pauses=dict(self.pauses), tombstones=tuple(new))

    def pause(self, pause: Pause) -> Pause | None:
        """Pause a queue; returns its former pause."""
        self.number += 1
        former, self.pauses[pause.queue] = self.pauses.get(pause.queue), pause
        return former

    def resume(self, queue: str) -> Pause | None:
        """End a pause, and return it."""
        self.number += 1
        return self.pauses.pop(queue, None)

    def cancel(self, tombstones: Sequence[Tombstone]) -> None:
        """Place tombstones."""
        self.number += 1
        self.tombstones += [(self.number, each) for each in tombstones]

    def remove_tombstones(self, tombstones: Sequence[Tombstone]) -> None:
        """Remove tombstones."""
        gone = set(tombstones)
        self.tombstones = [entry for entry in self.tombstones if entry[1] not in gone]


__all__ = ["HeldOrders"]
