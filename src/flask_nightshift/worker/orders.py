"""What is ordered for all workers: a worker hears of it within two seconds, and at once after a broadcast.

While the orders cannot be read, the worker goes on with those that it knows, and runs jobs (invariant 7).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery.worker.control import control_command

from ..background.loop import OUTAGES, Backoff, Loop, Work
from ..brokers.orders import UNKNOWN
from ..domain.orders import COMMAND, Ordered
from ..services import Services

EVERY = 1.0
"""Seconds between two questions."""
GLANCE_EVERY = 0.5
"""Seconds between two looks at what the broker tells in passing (``Broker.last_order``), which ask nobody."""

Heard = Callable[[Ordered], None]

logger = logging.getLogger("flask_nightshift.worker.orders")


class OrderWatch(Work):
    """The thread of a worker that asks what is ordered, and tells its subscribers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._subscribers: list[Heard] = []
        self._nudged: list[Callable[[], object]] = []
        self._asking = threading.Lock()
        self._hurried = False
        self.glance: Callable[[], int | None] = lambda: None
        """The number of the last order, as the broker told in passing; None: the watch has to ask."""
        self._loop = Loop(self, "nightshift-orders", Backoff(EVERY, 3 * EVERY))
        self.known: Ordered | None = None
        """What is ordered, as this worker knows; None if it was never able to ask."""

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self._loop.start()

    def stop(self) -> None:
        """End the thread."""
        self._loop.stop()

    def subscribe(self, heard: Heard) -> None:
        """Call ``heard`` in the thread after each change, and now if anything is known."""
        self._subscribers.append(heard)
        if self.known is not None:
            heard(self.known)

    def unsubscribe(self, heard: Heard) -> None:
        """Do not call ``heard`` any more."""
        if heard in self._subscribers:
            self._subscribers.remove(heard)

    def nudge(self, call: Callable[[], object]) -> None:
        """Make the call whenever somebody tells the workers that something was ordered."""
        self._nudged.append(call)

    def hurry(self) -> None:
        """Ask now, and have others look."""
        self._hurried = True
        self._loop.hurry()
        for call in self._nudged:
            call()

    def read_now(self) -> Ordered | None:
        """Ask now, in this thread: a worker must not consume a paused queue. Returns ``known`` during an outage."""
        try:
            self._ask()
        except OUTAGES as exc:
            self._loop.outage(exc)
        except Exception:  # noqa: BLE001 - the worker has to run jobs
            self.failed()
        return self.known

    def turn(self) -> float:
        """Ask, unless the broker has told in passing that nothing is new."""
        hurried, self._hurried = self._hurried, False
        number = None if hurried else self.glance()
        if number is None or self.known is None or number != self.known.number:
            self._ask()
        return EVERY if number is None else GLANCE_EVERY

    def _ask(self) -> None:
        with self._asking:
            ordered = self._services.orders.read(UNKNOWN if self.known is None else self.known.number)
            if ordered is None:
                return
            self.known = ordered
            for heard in tuple(self._subscribers):
                heard(ordered)

    def failed(self) -> None:
        """The next question may succeed."""
        logger.exception("orders.not_heard")

    def paused(self, why: object) -> None:
        """An outage has begun."""
        text = "the worker goes on with the orders that it knows"
        if self.known is None:
            text = "the worker does not know which queues are paused, and consumes all of its queues"
        logger.warning("orders.unknown", extra={"why": str(why), "meanwhile": text})

    def resumed(self) -> None:
        """The outage is over."""
        logger.info("orders.known_again")


@control_command(name=COMMAND)  # type: ignore[untyped-decorator,unused-ignore]
def _hear(state: Any) -> dict[str, Any]:
    """Ask what is ordered, now."""
    watch: OrderWatch = state.consumer.controller.orders
    watch.hurry()
    return {"ok": "the worker asks what is ordered"}


__all__ = ["OrderWatch"]
