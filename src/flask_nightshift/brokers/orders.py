"""The interface to the orders for all workers: in the broker where it can hold them, else in the database.

Each order gets a number in the step that writes it. Numbers ascend as the orders become visible, and follow the clock,
so they go on ascending after a broker has lost its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from ..domain.orders import Ordered, Pause
from ..domain.tombstones import Tombstone

UNKNOWN = -1
"""The number of no order."""


class OrderBook(Protocol):
    """The orders; all methods raise ``BrokerUnavailable`` or ``DatabaseUnavailable``."""

    def read(self, since: int) -> Ordered | None:
        """What is ordered; None if ``since`` is the number of the last order.

        The number is 0 before the first order; ``UNKNOWN`` gets what is ordered in any case.
        """

    def pause(self, pause: Pause) -> Pause | None:
        """Pause a queue; returns its former pause if it was paused already."""

    def resume(self, queue: str) -> Pause | None:
        """End the pause of ``queue``; returns it, or None if the queue was not paused."""

    def pauses(self) -> dict[str, Pause]:
        """The paused queues, by name."""

    def cancel(self, tombstones: Sequence[Tombstone]) -> None:
        """Place ``tombstones``, all or none."""

    def tombstones(self) -> list[Tombstone]:
        """All of them, in the order in which they were placed."""

    def count_tombstones(self) -> int:
        """How many there are."""

    def remove_tombstones(self, tombstones: Sequence[Tombstone]) -> None:
        """Remove those of jobs that have ended. That is no order: workers may go on with the ones that they know."""


def expire_tombstones(orders: OrderBook, now: datetime) -> int:
    """Remove the tombstones of jobs that no worker has met in time; returns how many."""
    old = [each for each in orders.tombstones() if each.expires_at < now]
    if old:
        orders.remove_tombstones(old)
    return len(old)


__all__ = ["UNKNOWN", "OrderBook", "expire_tombstones"]
