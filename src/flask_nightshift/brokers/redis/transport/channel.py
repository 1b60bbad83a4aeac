"""The channel: kombu's Redis channel, with leases instead of ``unacked`` and with delayed messages.

What is new besides: ``basic_replace`` writes a job's next state and releases the job in one step.
"""

from __future__ import annotations

import contextlib
import copy
from datetime import datetime
from typing import Any, cast

from amqp.exceptions import ChannelError
from kombu.transport import redis
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from ....message.codec import encode
from . import keys, queues
from .consuming import ConsumingMixin
from .keys import KeySpace
from .lease import Lease
from .message import Message
from .options import Options
from .publishing import PublishingMixin
from .qos import QoS

OPTIONS = ("lease_seconds", "lease_renew_seconds", "delivery_limit", "dead_letter_queue")


class AccessRefused(RedisError):
    """The server does not accept the user or the password of the broker URL.

    No connection error, as redis-py has it: another attempt cannot help, so a worker ends instead of trying
    for ever.
    """


class LeaseMixin(PublishingMixin, ConsumingMixin):
    """Everything that the channels of both transports have in common."""

    QoS = QoS
    Message = Message
    crashed = False
    """Set when the consumer ends by an error that a message may have caused."""
    draining = False
    """Set when the worker ends what still runs, because it was told to stop: those deliveries do not count."""

    def __init__(self: Any, connection: Any, **kwargs: Any) -> None:
        self._lease = None
        self._cached_client: Any = None
        self._script_client: Any = None
        self._broker_state = connection.state
        self.options = Options.of(connection.client.transport_options)
        self._init_publishing()
        self._init_consuming()
        try:
            super().__init__(connection, **kwargs)  # type: ignore[call-arg]  # a mixin
        except AuthenticationError as exc:
            raise AccessRefused(f"{connection.client.as_uri()} refuses the user or password: {exc}") from exc

    @property
    def state(self) -> Any:
        """Exchanges and bindings; still known when the channel is closed and its last jobs are settled."""
        return self._broker_state

    # clients: one per channel, where kombu makes one per operation
    def conn_or_acquire(self: Any, client: Any = None) -> Any:
        """A context manager that gives ``client``, or the channel's own."""
        if client is None:
            if self._cached_client is None:
                self._cached_client = self._create_client()
            client = self._cached_client
        return _Given(client)

    @property
    def scripting(self: Any) -> Redis:
        """A client that prefixes nothing, for scripts: their keys come from ``keys.py``."""
        if self._script_client is None:
            self._script_client = Redis(connection_pool=self.pool)
        return self._script_client

    def _disconnect_pools(self: Any) -> None:
        self._cached_client = self._script_client = self._publish_connection = None
        super()._disconnect_pools()  # type: ignore[misc]  # a mixin

    @property
    def lease(self: Any) -> Lease:
        """The lease of this channel, registered at first use; raises ``LeaseLost`` if it was taken."""
        if self._lease is None:
            lease = Lease(
                self._lease_pool(),
                KeySpace(self.global_keyprefix, self.sep),
                self.options,
                self.connection.cycle.wake,
                tells_starts=self.connection.slots is not None,
            )
            lease.start()
            self._lease = lease
        self.check_lease()
        return cast("Lease", self._lease)

    def _lease_pool(self: Any) -> Any:
        """Connections of the lease's own: it outlives the channel, and it must not hang."""
        managers = self._sentinel_manager, self._async_sentinel_manager
        pool = self._get_pool()
        self._sentinel_manager, self._async_sentinel_manager = managers
        longest = self.options.lease_seconds / 3
        for name in ("socket_timeout", "socket_connect_timeout"):
            given = pool.connection_kwargs.get(name)
            pool.connection_kwargs[name] = min(given or longest, longest)
        pool.connection_kwargs["retry_on_timeout"] = False  # a claim sent twice would be two claims
        pool.max_connections = 2**31  # as many as threads settle jobs at the same time
        return pool

    # the next state of a job
    def basic_replace(
        self: Any,
        delivery_tag: int,
        message: dict[str, Any],
        exchange: str,
        routing_key: str,
        due: float | datetime | None = None,
    ) -> bool:
        """Write a delivered message's next state and release the message, in one step.

        ``message`` is made by ``prepare_message`` and goes where (exchange, routing_key) leads, at once or,
        with ``due`` (unix seconds, or an aware datetime), then. Returns False if the message is no longer
        ours: nothing was written.
        Any error of the server propagates; then the message is still leased, and the call can be repeated.
        """
        found = self._in_hand.get(delivery_tag)
        if found is None:
            return False
        queues = self._lookup(exchange, routing_key)
        if not queues:
            raise ChannelError(f"nothing is bound to {exchange!r} with routing key {routing_key!r}")
        message = copy.copy(message)
        message["properties"] = {**message["properties"]}
        message["properties"]["delivery_info"] = dict(message["properties"].get("delivery_info") or {})
        self._inplace_augment_message(message, exchange, routing_key)
        _, step = self._when(message)
        to = [self.destination(queue, step) for queue in queues]
        lease, queue = found
        at = due.timestamp() if isinstance(due, datetime) else due or 0.0
        done = lease.replace(delivery_tag, queue, to, step, at, encode(message))
        self._let_go(delivery_tag)
        self.qos._quick_ack(delivery_tag)  # noqa: SLF001 - it no longer counts as delivered
        return done

    def holds(self, delivery_tag: int) -> bool:
        """Whether a delivered message is still leased to us; asks the server if that is in doubt.

        False too when it cannot be asked: it is returned then, or another consumer's.
        """
        found = self._in_hand.get(delivery_tag)
        try:
            if found is not None:
                found[0].verify()
        except (RedisError, OSError):
            return False
        return found is not None

    def has(self, delivery_tag: int) -> bool:
        """Whether a delivered message is leased to us, as far as we know without asking the server."""
        found = self._in_hand.get(delivery_tag)
        return found is not None and found[0].holds(delivery_tag)

    def begin_delivery(self, delivery_tag: int) -> bool:
        """Have a delivered message counted, because its job begins now; False if it is no longer ours.

        Raises what redis-py does; then the job must not begin.
        """
        if not self.holds(delivery_tag):
            return False
        lease, _ = self._in_hand[delivery_tag]
        return not lease.tells_starts or self._starts.begin(delivery_tag, lease.note_begun)

    # settling, on behalf of QoS
    def settle_by_ack(self, tag: int) -> None:
        """Acknowledge what was delivered under ``tag``."""
        if found := self._let_go(tag):
            lease, queue = found
            lease.ack(queue, tag)

    def settle_by_return(self: Any, tag: Any) -> None:
        """Return what was delivered under ``tag`` to its queue."""
        if tag in self._in_hand:
            self._in_hand[tag][0].give_back([tag], counted=not self.draining)
            self._let_go(tag)
        elif not isinstance(tag, int):  # came without a lease (kombu's own path): write it anew
            message = self.qos.get(tag)
            info = message.delivery_info
            for queue in self._lookup(info["exchange"], info["routing_key"]):
                self._put(queue, message._raw)  # noqa: SLF001 - as kombu does

    def return_unsettled(self: Any, tags: list[int]) -> None:
        """Return what was delivered and not settled, uncounted."""
        by_lease: dict[Lease, list[int]] = {}
        for tag in tags:
            if found := self._let_go(tag):
                by_lease.setdefault(found[0], []).append(tag)
        for lease, numbers in by_lease.items():
            lease.give_back(numbers, counted=False)

    def release_lease(self) -> None:
        """The end of consuming: return everything at once; after a crash, what had begun is counted."""
        lease, self._lease = self._lease, None
        self._claimed.clear()
        if lease is None:
            return
        if self.crashed:
            with contextlib.suppress(RedisError, OSError):
                self._count_what_may_have_crashed(lease)
        lease.release()

    def _count_what_may_have_crashed(self: Any, lease: Lease) -> None:
        """A message need not begin to end its worker. If one of those in hand did so before, it was that one."""
        in_hand = [tag for tag, (its, _) in self._in_hand.items() if its is lease]
        doubtful = [tag for tag in in_hand if self._starts.is_unproven(tag)]
        lease.note_begun(doubtful or in_hand)
        lease.give_back(in_hand, counted=True)

    # ending
    def close(self: Any) -> None:
        """Close in good order; the reply to a claim under way is not waited for, its lease is released."""
        self._leave_poll()
        super().close()  # type: ignore[misc]  # a mixin
        self.release_lease()

    def detach(self: Any) -> None:
        """Close after trouble with the connection: running jobs stay leased to this process."""
        self._leave_poll()
        lease, self._lease = self._lease, None
        self._claimed.clear()
        self.auto_delete_queues.clear()  # deleting them would mean to wait for the server
        exchange_types = self.exchange_types
        delivered = self._delivered_under(lease) if lease is not None else {}
        self.qos.forget()
        try:
            super().close()  # type: ignore[misc]  # a mixin
        finally:
            self.exchange_types = exchange_types
            if lease is not None:
                lease.detach(delivered)

    def _after_fork(self: Any) -> None:
        """In a child: close what it inherited, and leave the parent's poller and lease alone."""
        self._registered, self._lease, self._claim = False, None, None
        super()._after_fork()  # type: ignore[misc]  # a mixin

    # the rest of a queue
    def _purge(self: Any, queue: str) -> int:
        prefix = self.global_keyprefix
        return queues.purge(self.scripting, prefix, queue, self.priority_steps, self.sep)

    def _delete(self: Any, queue: str, *args: Any, **kwargs: Any) -> None:
        super()._delete(queue, *args, **kwargs)  # type: ignore[misc]  # a mixin
        prefix = self.global_keyprefix
        self.scripting.delete(keys.delayed(prefix, queue), keys.bell(prefix, queue))


class _Given:
    """What ``with channel.conn_or_acquire() as client`` enters."""

    __slots__ = ("_client",)

    def __init__(self, client: Any) -> None:
        self._client = client

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *exc: object) -> None:
        return None


class Channel(LeaseMixin, redis.Channel):
    """A channel to one Redis or Valkey server."""

    from_transport_options = redis.Channel.from_transport_options + OPTIONS


class SentinelChannel(LeaseMixin, redis.SentinelChannel):
    """A channel to the master that Sentinel names."""

    from_transport_options = redis.SentinelChannel.from_transport_options + OPTIONS
