"""Paused queues in one worker: it begins none of their jobs.

Where the broker gives out nothing of a paused queue (``Capabilities.skips_paused``), the worker returns what it has not
begun. Elsewhere it stops consuming the queue, and finishes what it holds: on RabbitMQ each return counts as a delivery.
Running jobs finish everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

from ..domain.orders import Ordered, Pause
from ..services import Services
from ..text.lines import Line as LogLine
from .line import Line
from .orders import OrderWatch
from .quarantine import Quarantine

LOOKS = (0.1, 0.6)
"""Seconds after which a broker that ends consumers in a good moment (``rabbitmq/intake.py``) looks for one."""

logger = logging.getLogger(__name__)


class Owner(Protocol):
    """The part of the worker's consumer that is used here."""

    app: Any
    hostname: str
    line: Line
    services: Services
    task_consumer: Any
    timer: Any

    @property
    def quarantine(self) -> Quarantine | None:
        """The quarantine of this connection."""

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Have the event loop, or a greenlet, make the call in a moment."""


class Pausing:
    """Keeps the consumer of one worker to the pauses that its ``watch`` hears of."""

    def __init__(self, owner: Owner, watch: OrderWatch) -> None:
        self._owner, self._watch = owner, watch
        self._skipped = owner.services.broker.capabilities.skips_paused
        self._pauses: Mapping[str, Pause] = {}
        self._due = self._consumes = False
        watch.glance = self._last_order
        watch.subscribe(self._heard)

    @property
    def paused(self) -> Set[str]:
        """The names of the paused queues."""
        return self._pauses.keys()

    def _last_order(self) -> int | None:
        consumer = self._owner.task_consumer
        if not self._consumes or consumer is None or consumer.channel is None:
            return None
        return self._owner.services.broker.last_order(consumer.channel)

    # -- the connection ------------------------------------------------------------------------------------

    def connected(self) -> None:
        """A connection is new: before the worker consumes, it asks which queues are paused."""
        self._consumes = False
        if not self._skipped:
            self._watch.read_now()

    def begins(self) -> None:
        """The worker is about to consume over that connection."""
        self._consumes, self._due = True, False
        if self._skipped:
            self._have_skipped()
        else:
            self._owner.task_consumer.paused = paused = frozenset(self.paused)
            self._leave_out(paused)

    def ends(self) -> None:
        """The worker consumes no more."""
        self._consumes = False

    # -- a change ------------------------------------------------------------------------------------------

    def _heard(self, ordered: Ordered) -> None:
        """In the watch's thread."""
        before, self._pauses = self._pauses, ordered.pauses
        if before == self._pauses:
            return
        self._tell(before)
        self._due = True
        if self._consumes:
            if self._skipped:
                self._have_skipped()
            self._owner.soon(self.apply)

    def _have_skipped(self) -> None:
        consumer = self._owner.task_consumer
        if consumer is not None and consumer.channel is not None:
            self._owner.services.broker.skip_paused(consumer.channel, frozenset(self.paused))

    def apply(self) -> None:
        """In the event loop: do what was heard of, if anything is left to do."""
        if not (self._due and self._consumes):
            return
        self._due = False
        paused = frozenset(self.paused)
        if self._skipped:
            self._owner.line.withdraw(paused)
            return
        self._owner.task_consumer.pause(paused, self._owner.services.broker.end_consumer)
        self._leave_out(paused)
        for seconds in LOOKS:
            self._owner.timer.call_after(seconds, self._owner.line.adjust_soon)

    def _leave_out(self, paused: frozenset[str]) -> None:
        if self._owner.quarantine is not None:
            self._owner.quarantine.leave_out(paused)

    def _tell(self, before: Mapping[str, Pause]) -> None:
        ours = self._owner.app.amqp.queues.consume_from
        for name in sorted({*before, *self._pauses} & {*ours}):
            pause = self._pauses.get(name)
            if pause is None:
                logger.info(LogLine("queue.resumed", queue=name, worker=self._owner.hostname))
            elif before.get(name) != pause:
                fields = {
                    "queue": name,
                    "by": pause.by,
                    "reason": pause.reason,
                    "worker": self._owner.hostname,
                }
                logger.info(LogLine("queue.paused", "no job of it begins here", **fields))


__all__ = ["Pausing"]
