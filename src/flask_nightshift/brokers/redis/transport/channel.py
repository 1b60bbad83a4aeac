"""The channel: kombu's Redis channel, with leases instead of ``unacked`` and with delayed messages.

It has what kombu calls, and delegates publishing to ``Publisher`` and consuming to ``Consumer``. ``basic_replace`` is
new: it writes a job's next state and releases the job in one script.
"""

from __future__ import annotations

import contextlib
import copy
import math
from datetime import datetime
from typing import Any

from amqp.exceptions import ChannelError
from kombu.transport import redis
from redis import ConnectionPool, Redis
from redis.exceptions import AuthenticationError, RedisError

from ....message.codec import encode
from ....message.unique import Lock, settled_lock
from . import bindings, queues
from .consuming import Consumer
from .keys import KeySpace
from .kombu_channel import KombuChannel
from .message import Message
from .options import Options
from .publishing import Publisher
from .publishing_channel import PublishingChannel
from .qos import QoS
from .slot_connection import SlotConnection, SSLSlotConnection
from .slot_owner import owner_of

OPTIONS = ("lease_seconds", "lease_renew_seconds", "delivery_limit", "dead_letter_queue")


class AccessRefused(RedisError):
    """The server does not accept the user or the password of the broker URL.

    No connection error, as redis-py has it: another attempt cannot help, so a worker ends instead of trying for ever.
    """


class Channel(PublishingChannel):
    """A channel to one Redis or Valkey server."""

    from_transport_options = redis.Channel.from_transport_options + OPTIONS
    QoS = QoS
    Message = Message
    exchange_types: Any
    crashed = False
    """Set when the consumer ends by an error that a message may have caused."""
    draining = False
    """Set when the worker ends running jobs because it was told to stop: those deliveries do not count."""

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._cached_client: Any = None
        self._script_client: Redis | None = None
        self._broker_state = connection.state
        given = connection.client.transport_options
        self.options, self.keys = Options.of(given), KeySpace.of(given)
        self.publisher = Publisher(self.keys, lambda: self.pool)
        self.consumer = Consumer(KombuChannel(self), self.keys, self.options, self._step_of)
        try:
            super().__init__(connection, **kwargs)
        except AuthenticationError as exc:
            raise AccessRefused(f"{connection.client.as_uri()} refuses the user or password: {exc}") from exc

    @property
    def state(self) -> Any:
        """Exchanges and bindings; still known when the channel is closed and its last jobs are settled."""
        return self._broker_state

    # clients: one for each channel, where kombu makes one for each operation
    def conn_or_acquire(self, client: Any = None) -> Any:
        """A context manager that gives ``client``, or the channel's own."""
        if client is None:
            if self._cached_client is None:
                self._cached_client = self._create_client()
            client = self._cached_client
        return contextlib.nullcontext(client)

    @property
    def scripting(self) -> Redis:
        """A client that prefixes no keys, for scripts: ``KeySpace`` names theirs."""
        if self._script_client is None:
            self._script_client = Redis(connection_pool=self.pool)
        return self._script_client

    def _disconnect_pools(self) -> None:
        self._cached_client = self._script_client = None
        self.publisher.forget_connection()
        super()._disconnect_pools()

    # the next state of a job
    def basic_replace(
        self,
        delivery_tag: int,
        message: dict[str, Any],
        exchange: str,
        routing_key: str,
        due: float | datetime | None = None,
    ) -> bool:
        """Write a delivered message's next state and release the message, in one script.

        ``prepare_message`` makes ``message``. It goes where (exchange, routing_key) leads, at once or, with ``due``
        (unix seconds, or an aware datetime), then. Returns False if the message is no longer ours: nothing was written.
        Any error of the server propagates; then the message is still leased, and the call can be repeated.
        """
        delivery = self.consumer.deliveries.get(delivery_tag)
        if delivery is None:
            return False
        destinations = self._lookup(exchange, routing_key)
        if not destinations:
            raise ChannelError(f"nothing is bound to {exchange!r} with routing key {routing_key!r}")
        message = copy.copy(message)
        message["properties"] = {**message["properties"]}
        message["properties"]["delivery_info"] = dict(message["properties"].get("delivery_info") or {})
        self._inplace_augment_message(message, exchange, routing_key)
        step = self._step_of(message)
        to = [self.keys.destination(queue, step) for queue in destinations]
        at = due.timestamp() if isinstance(due, datetime) else due or 0.0
        lock = settled_lock(message.get("headers"))
        locks = [lock] if lock else ()
        done = delivery.lease.replace(delivery_tag, delivery.queue, to, step, at, encode(message), locks)
        self.consumer.deliveries.let_go(delivery_tag)
        self.qos._quick_ack(delivery_tag)  # noqa: SLF001 - it no longer counts as delivered
        delivery.lease.on_change()  # another thread may wait in the loop for room for the next message
        return done

    def holds(self, delivery_tag: int) -> bool:
        """Whether a delivered message is still leased to us; asks the server if that is in doubt."""
        return self.consumer.deliveries.holds(delivery_tag)

    def has(self, delivery_tag: int) -> bool:
        """Whether a delivered message is leased to us, as far as we know without asking the server."""
        return self.consumer.deliveries.has(delivery_tag)

    def begin_delivery(self, delivery_tag: int) -> bool:
        """Have a delivered message counted, because its job begins now; False if it is no longer ours.

        Raises what redis-py does; then the job must not begin.
        """
        return self.consumer.deliveries.begin(delivery_tag)

    def begin_unique(self, delivery_tag: int, lock: Lock) -> str:
        """A delivered unique job begins: '' if it may, else the id of the job that replaced it."""
        delivery = self.consumer.deliveries.get(delivery_tag)
        return delivery.lease.begin_unique(lock) if delivery is not None else ""

    def ours_until(self) -> float:
        """When our lease runs out, if it is not renewed again, in seconds of ``CLOCK_BOOTTIME``."""
        lease = self.consumer.lease
        return lease.renewer.kept_until if lease is not None else math.inf

    def basic_ack(self, delivery_tag: Any, multiple: bool = False) -> None:  # noqa: ARG002 - kombu's signature
        """Acknowledge a delivered message."""
        self.consumer.deliveries.ack(delivery_tag)
        self.qos._quick_ack(delivery_tag)  # noqa: SLF001 - as kombu's ``QoS.ack`` does

    # settling, on behalf of QoS
    def settle_by_ack(self, tag: int) -> None:
        """Acknowledge what was delivered under ``tag``."""
        self.consumer.deliveries.ack(tag)

    def settle_by_return(self, tag: Any) -> None:
        """Return what was delivered under ``tag`` to its queue."""
        if self.consumer.deliveries.give_back(tag, counted=not self.draining) or isinstance(tag, int):
            return
        message = self.qos.get(tag)  # it came without a lease (kombu's own path): write it anew
        info = message.delivery_info
        for queue in self._lookup(info["exchange"], info["routing_key"]):
            self._put(queue, message._raw)  # noqa: SLF001 - as kombu does

    def return_unstarted(self, tags: list[int]) -> None:
        """Return what was delivered and has not begun, uncounted; raises what redis-py does, and can be repeated."""
        for tag in self.consumer.deliveries.return_unstarted(tags):
            self.qos._quick_ack(tag)  # noqa: SLF001 - it no longer counts as delivered

    def return_unsettled(self, tags: list[int]) -> None:
        """Return what was delivered and not settled, uncounted."""
        self.consumer.deliveries.give_back_uncounted(tags)

    def release_lease(self) -> None:
        """The end of consuming: return everything at once; after a crash, what had begun is counted."""
        self.consumer.release(crashed=self.crashed)

    # consuming, as kombu and our poller call it
    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from ``queue``."""
        self.consumer.begin(queue, no_ack=no_ack)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_cancel(self, consumer_tag: str) -> Any:
        """Stop consuming. kombu postpones it while a reply is handled; the rest of that reply is not delivered."""
        self.consumer.leave(self._tag_to_queue.get(consumer_tag, ""))
        return super().basic_cancel(consumer_tag)

    def _basic_cancel(self, consumer_tag: str) -> Any:
        queue = self._tag_to_queue.get(consumer_tag)
        self.consumer.ends(queue)
        result = super()._basic_cancel(consumer_tag)
        self.consumer.ended()
        return result

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message of ``queue``, or None; leased like any other unless ``no_ack``."""
        if no_ack:
            return super().basic_get(queue, no_ack=True, **kwargs)
        body = self.consumer.get(queue)
        if body is None:
            return None
        message = self.Message(body, channel=self)
        self.qos.append(message, message.delivery_tag)
        return message

    def leave_closed(self) -> None:
        """Before something is asked: close a connection whose other end the server has closed."""
        if not self._in_poll:
            self.consumer.drop_closed(getattr(self.client, "connection", None))

    def _brpop_start(self, timeout: float | None = None) -> None:
        if self.consumer.left_to_kombu():
            super()._brpop_start(timeout)
        else:
            self.consumer.start()

    def _brpop_read(self, **options: Any) -> Any:
        if self.consumer.took_from_kombu():
            return super()._brpop_read(**options)
        return self.consumer.read()

    def _on_connection_disconnect(self, connection: Any) -> None:
        """Whoever ended the connection: a command that was under way on it gets no answer."""
        polling = self._in_poll is connection
        super()._on_connection_disconnect(connection)
        if polling:
            self.consumer.disconnected()

    # ending
    def close(self) -> None:
        """Close in good order; the reply to a claim under way is not waited for, because its lease is released."""
        self.consumer.stop_polling()
        super().close()
        self.release_lease()

    def detach(self) -> None:
        """Close after trouble with the connection: running jobs stay leased to this process."""
        self.consumer.stop_polling()
        self.auto_delete_queues.clear()  # deleting them would mean waiting for the server
        exchange_types = self.exchange_types
        detach_lease = self.consumer.detach()
        self.qos.forget()
        try:
            super().close()
        finally:
            self.exchange_types = exchange_types
            detach_lease()

    def _after_fork(self) -> None:
        """In a child: close what it inherited, and leave the parent's poller and lease alone."""
        self._registered = False
        self.consumer.forked()
        super()._after_fork()

    def sweep_bindings(self, limit: int = 100) -> int:
        """Forget binding tables that no consumer refreshed in time; how many."""
        names = self.keyprefix_binding_deadlines, self.keyprefix_queue, self.keyprefix_binding_permanent
        return bindings.sweep(self.scripting, self.keys.prefix, *names, limit)

    # the rest of a queue
    def _purge(self, queue: str) -> int:
        return queues.purge(self.scripting, self.keys, queue)

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        super()._delete(queue, *args, **kwargs)
        self.scripting.delete(self.keys.delayed(queue), self.keys.bell(queue))


class SentinelChannel(Channel, redis.SentinelChannel):
    """A channel to the master that Sentinel names."""

    from_transport_options = redis.SentinelChannel.from_transport_options + OPTIONS


class ClusterChannel(Channel):
    """A channel to the node of a Redis Cluster that owns the slot of the app's keys."""

    connection_class = SlotConnection
    connection_class_ssl = SSLSlotConnection

    def _get_pool(self, asynchronous: bool = False) -> ConnectionPool:
        """A pool of connections to the owner; those that an event loop watches must not wait for it."""
        pool: ConnectionPool = super()._get_pool(asynchronous)
        owner = owner_of(self.connection.client.transport_options["cluster_nodes"], self.keys.prefix)
        pool.connection_kwargs.update(owner=owner, follows=not asynchronous)
        return pool


__all__ = ["AccessRefused", "Channel", "ClusterChannel", "SentinelChannel"]
