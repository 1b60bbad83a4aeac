"""The kombu transport of ``memory://``: kombu's virtual channel on top of a ``MemoryServer``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from queue import Empty
from time import monotonic
from typing import Any

from kombu.connection import resolve_aliases
from kombu.transport import virtual

from ...domain.job import Failure, Reason, utcnow
from ...message import burial
from ...message import headers as message_headers
from ...message.codec import decode, encode
from ...message.unique import Held, lock_of, settled_lock, unmarked
from .. import payload
from .server import MemoryServer, server
from .stored import Stored

LOOK_EVERY = 0.1
"""Seconds between two looks whether a worker that waits for messages has to stop; Celery itself looks every 2 s."""


class MemoryQoS(virtual.QoS):
    """Acknowledges and rejects through the server."""

    def ack(self, delivery_tag: int) -> None:
        """Delete the message."""
        self._delete(delivery_tag)
        super().ack(delivery_tag)

    def _delete(self, delivery_tag: int) -> None:
        message = self._delivered.get(delivery_tag)
        self.channel.server.ack(delivery_tag, lock_of(message.headers) if message is not None else None)

    def reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Return the message to the head of its queue, counted as a delivery unless draining; or delete it."""
        if requeue:
            self.channel.server.give_back(delivery_tag, counted=not self.channel.draining)
        else:
            self._delete(delivery_tag)
        super().ack(delivery_tag)

    def restore_unacked(self) -> list[Any]:
        """Return all delivered messages to the heads of their queues.

        After a crash, the deliveries whose jobs had begun count; if none had begun, all count.
        """
        self._flush()
        tags = list(self._delivered)
        begun = self.channel.begun.intersection(tags) or set(tags)
        for tag in reversed(tags):
            self.channel.server.give_back(tag, counted=self.channel.crashed and tag in begun)
        self._delivered.clear()
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:  # noqa: ARG002 - kombu's signature
        """Return all delivered messages when the channel closes or the process ends."""
        self._on_collect.cancel()
        self.restore_unacked()


class MemoryChannel(virtual.Channel):
    """A channel to the queues of this process."""

    QoS = MemoryQoS
    supports_fanout = True
    from_transport_options = (*virtual.Channel.from_transport_options, "delivery_limit")
    delivery_limit = 5
    crashed = False
    """True after the consumer ended by an error that a message may have caused."""
    draining = False
    """True while a stopping worker returns its jobs: those deliveries do not count."""

    def __init__(self, connection: Any, **options: Any) -> None:
        self.server: MemoryServer = connection.server
        self._broker_state = connection.state
        self.begun: set[int] = set()
        """The delivery tags whose jobs have begun."""
        super().__init__(connection, **options)

    @property
    def state(self) -> Any:
        """Exchanges and bindings; they stay available after ``close``, to settle the last jobs."""
        return self._broker_state

    # -- the next state of a job --- ------------------------------------------------------------------------

    def replace(self, delivery_tag: int, message: dict[str, Any], queue: str) -> bool:
        """Write a message's next state and acknowledge it in one step; False if it is not delivered to us."""
        self._inplace_augment_message(message, "", queue)
        lock = settled_lock(message.get("headers"))
        written = self.server.replace(delivery_tag, queue, *self._stored(message), lock=lock)
        self.begun.discard(delivery_tag)
        self.qos._quick_ack(delivery_tag)  # noqa: SLF001 - it no longer counts as delivered
        return written

    def begin(self, delivery_tag: int) -> bool:
        """Record that the message's job begins; False if the message is not delivered to us."""
        self.server.check()
        self.begun.add(delivery_tag)
        return self.server.holds(delivery_tag)

    # -- hooks of kombu's virtual channel ------------------------------------------------------------------

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **options: Any
    ) -> None:
        """Consume; with ``no_ack`` the server deletes a message on delivery."""

        def settled(message: Any) -> Any:
            self.server.ack(message.delivery_tag)
            return callback(message)

        super().basic_consume(queue, no_ack, settled if no_ack else callback, consumer_tag, **options)

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Any:
        """The next message of ``queue``, or None."""
        message = super().basic_get(queue, no_ack, **options)
        if message is not None and no_ack:
            self.server.ack(message.delivery_tag)
        return message

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if (headers := unmarked(message.get("headers"))) is not None:
            message = {**message, "headers": headers}
            if (lock := lock_of(headers)) is not None:
                if holder := self.server.publish_unique(queue, *self._stored(message), lock):
                    raise Held(holder)
                return
        self.server.publish(queue, *self._stored(message))

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **_: Any) -> None:
        for queue in self._lookup(exchange, routing_key):
            self.server.publish(queue, *self._stored(message))

    def next_of(self, queue: str) -> dict[str, Any] | None:
        """The next message of ``queue``, which counts as delivered; None if there is none."""
        try:
            return self._get(queue)
        except Empty:
            return None

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 - kombu's
        while (stored := self.server.claim(queue)) is not None:
            body = decode(stored.payload)
            if stored.deliveries < self.delivery_limit or queue == burial.DEAD_QUEUE:
                return payload.for_delivery(body, stored.deliveries, stored.number, queue)
            self._bury(stored, body)
        raise Empty

    def _bury(self, stored: Stored, body: dict[str, Any]) -> None:
        """Bury a message that reached the delivery limit."""
        why = f"delivered {stored.deliveries} times, and never settled"
        body["headers"] = burial.buried(
            body.get("headers"),
            reason=Reason.DELIVERY_LIMIT,
            failure=Failure(why),
            queue=stored.queue,
            worker="memory://",
            at=utcnow(),
        )
        lock = settled_lock(body["headers"])
        self.server.replace(stored.number, burial.DEAD_QUEUE, encode(body), stored.priority, lock=lock)

    def _stored(self, message: dict[str, Any]) -> tuple[bytes, int, float]:
        """The bytes, the priority and the due time of ``message``, as the server stores them."""
        due = 0.0 if message_headers.DEAD in (message.get("headers") or {}) else payload.due(message) or 0.0
        return encode(message), self._get_message_priority(message), due

    def _size(self, queue: str) -> int:
        return self.server.counts(queue).ready

    def _purge(self, queue: str) -> int:
        return self.server.purge(queue)

    def _queue_bind(self, *_: Any) -> None:
        """Do nothing: ``state`` contains the bindings."""


class MemoryTransport(virtual.Transport):
    """``memory://NAME``: the connection to the server of that name in this process."""

    Channel = MemoryChannel
    driver_type = driver_name = "memory"
    implements = virtual.Transport.implements.extend(exchange_type=frozenset({"direct", "topic", "fanout"}))

    def __init__(self, client: Any, **options: Any) -> None:
        super().__init__(client, **options)
        self.server = server(client.hostname)
        self.state = self.server.exchanges

    def driver_version(self) -> str:
        """``N/A``: there is no driver."""
        return "N/A"

    def establish_connection(self) -> Any:
        """Raises ``ConnectionError`` in a forked process, and while a test makes the broker unavailable."""
        self.server.check()
        return super().establish_connection()

    def deliver_next(self, channel: MemoryChannel, queue: str) -> bool:
        """Deliver the next message of ``queue`` to the consumer on ``channel``; False if there is none."""
        payload = channel.next_of(queue)
        if payload is not None:
            self._deliver(payload, queue)
        return payload is not None

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # noqa: ARG002 - kombu's
        """Deliver one message; raises ``TimeoutError`` when none comes within ``timeout`` seconds."""
        until = None if timeout is None else monotonic() + timeout
        while True:
            self.server.check()
            seen = self.server.changes
            try:
                self.cycle.get(self._deliver, timeout=timeout)
            except Empty:
                left = self.polling_interval if until is None else until - monotonic()
                if left <= 0 or _worker_stops():
                    raise TimeoutError from None
                self.server.wait(seen, min(left, LOOK_EVERY))
            else:
                return


def _worker_stops() -> bool:
    state = sys.modules.get("celery.worker.state")  # absent if no worker runs in this process
    wanted = (getattr(state, "should_stop", None), getattr(state, "should_terminate", None))
    return any(exit_code is not None and exit_code is not False for exit_code in wanted)


NAME = f"{__name__}:{MemoryTransport.__name__}"
"""The transport's name in Celery's settings."""
resolve_aliases[NAME] = "memory"  # the scheme that Celery shows

__all__ = ["NAME", "MemoryChannel", "MemoryTransport"]
