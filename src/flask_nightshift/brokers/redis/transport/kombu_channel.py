"""kombu's channel as our consumer sees it: kombu has no types, so this is the one place that knows its names."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from kombu.utils.scheduling import priority_cycle
from redis import ConnectionPool

from .buffer import Buffer
from .lease import Lease
from .qos import QoS


class KombuChannel:
    """What a consumer uses of ``channel``, a ``channel.Channel``."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    # its queues
    @property
    def active_queues(self) -> list[str]:
        """The queues that the channel consumes, without broadcasts."""
        queues: list[str] = self._channel.active_queues
        return queues

    @property
    def takes_turns(self) -> bool:
        """Whether the queues take turns; else workers empty the first one first."""
        return not isinstance(self._channel._queue_cycle, priority_cycle)  # noqa: SLF001

    def next_queues(self) -> Sequence[str]:
        """The queues that the channel consumes, in the order of their turns."""
        queues: Sequence[str] = self._channel._queue_cycle.consume(len(self.active_queues))  # noqa: SLF001
        return queues

    def served(self, queue: str) -> None:
        """``queue`` has had its turn."""
        self._channel._queue_cycle.rotate(queue)  # noqa: SLF001

    def consumes(self, queue: str) -> bool:
        """Whether there is a consumer for ``queue`` now."""
        return queue in self._channel.connection._callbacks  # noqa: SLF001 - as kombu's channel does

    def hand_out(self, body: dict[str, Any], queue: str) -> None:
        """Deliver a message to the consumer of ``queue``."""
        self._channel.connection._deliver(body, queue)  # noqa: SLF001 - as kombu's channel does

    # its limits
    @property
    def qos(self) -> QoS:
        """The prefetch, and what was delivered and not settled."""
        qos: QoS = self._channel.qos
        return qos

    @property
    def slots(self) -> int | None:
        """How many jobs can run at once; None if the worker does not report their starts."""
        slots: int | None = self._channel.connection.slots
        return slots

    @property
    def wait_seconds(self) -> float:
        """Kombu's ``polling_interval``; 0 is without end."""
        return float(self._channel.brpop_timeout or 0)

    @property
    def health_seconds(self) -> float:
        """Kombu's ``health_check_interval``; 0 is never."""
        return float(self._channel.health_check_interval or 0)

    def restore_left_behind(self) -> None:
        """Restore what workers on kombu's own transport left unacknowledged."""
        self._channel.connection.cycle.maybe_restore_messages()

    # its polling connection
    def polling_connection(self) -> Any:
        """redis-py's connection on which the channel waits."""
        return self._channel.client.connection

    def note_polling(self, connection: Any) -> None:
        """Tell kombu's poller that a command is under way on ``connection``, or, with None, that there is none."""
        self._channel._in_poll = connection  # noqa: SLF001
        if connection is not None:
            self._channel._brpop_sent_at = monotonic()  # noqa: SLF001 - kombu's health check reads it

    @property
    def is_polling(self) -> bool:
        """Whether kombu's poller takes a command to be under way."""
        return bool(self._channel._in_poll)  # noqa: SLF001

    def answered(self) -> None:
        """A reply was read, and no command is under way: new credentials can be sent now."""
        self._channel._flush_brpop_reauth()  # noqa: SLF001

    def ask(self) -> None:
        """Send the next command."""
        self._channel._brpop_start()  # noqa: SLF001

    # its lease
    def new_lease(self, buffer: Buffer[Any]) -> Lease:
        """A registered lease, which returns what waits in ``buffer`` while a job blocks the event loop."""
        channel = self._channel
        transport = channel.connection
        returns = transport.blocks_loop and transport.window is not None
        tells_starts, wake = self.slots is not None, channel.connection.cycle.wake
        lease = Lease(self._lease_pool(), channel.keys, channel.options, wake, tells_starts=tells_starts)
        lease.buffer = buffer if returns else None
        lease.start()
        return lease

    def _lease_pool(self) -> ConnectionPool:
        """Connections of the lease's own: it outlives the channel, and it must not hang."""
        channel = self._channel
        managers = channel._sentinel_manager, channel._async_sentinel_manager  # noqa: SLF001
        pool: Any = channel._get_pool()  # noqa: SLF001
        channel._sentinel_manager, channel._async_sentinel_manager = managers  # noqa: SLF001
        longest = channel.options.lease_seconds / 3
        for name in ("socket_timeout", "socket_connect_timeout"):
            given = pool.connection_kwargs.get(name)
            pool.connection_kwargs[name] = min(given or longest, longest)
        pool.connection_kwargs["retry_on_timeout"] = False  # a claim sent twice would be two claims
        pool.max_connections = 2**31  # as many as threads settle jobs at the same time
        made: ConnectionPool = pool
        return made


__all__ = ["KombuChannel"]
