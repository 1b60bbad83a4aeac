"""The kombu transports: how a connection begins, what breaks it, and its two ways to end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from kombu.connection import resolve_aliases
from kombu.transport import redis
from redis.exceptions import ReadOnlyError

from . import reclaim
from .channel import Channel, ClusterChannel, SentinelChannel
from .wakeable_poller import Poller

# what people see of a connection's URL is the scheme that they know
resolve_aliases["flask_nightshift.transport:Transport"] = "redis"
resolve_aliases["flask_nightshift.transport:SentinelTransport"] = "sentinel"
resolve_aliases["flask_nightshift.transport:ClusterTransport"] = "redis+cluster"


class Transport(redis.Transport):
    """``redis://``, ``rediss://`` and ``redis+socket://``."""

    Channel = Channel

    slots: int | None = None
    """How many jobs can run at once, said by a consumer that calls ``begin_delivery`` before each of them.

    For any other each delivery is counted.
    """
    window: Callable[[], int] | None = None
    """How many messages the consumer may hold now, in place of its prefetch count; None: that counts."""
    blocks_loop = False
    """Whether a job blocks the event loop, so that what it claimed with the job cannot be delivered meanwhile."""
    # after a failover the old master refuses to write: connect anew, to the new one
    connection_errors = (*redis.Transport.connection_errors, ReadOnlyError)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kombus: Any = self.cycle
        kombus.close()
        self.cycle: Any = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let ``loop`` drive the channels of ``connection``."""
        super().register_with_event_loop(connection, loop)
        self.cycle.in_event_loop(loop, self.on_readable)

    def _collect(self, connection: Any) -> None:  # noqa: ARG002 - kombu's signature
        """End after trouble, where kombu and Celery would otherwise close in good order.

        Nobody waits for the server. The jobs that are running go on, so they stay leased to this process, and
        are settled over the lease's own connections. Note the outage before this process connects again, because the
        renewer's thread may notice it later.
        """
        reclaim.note_outage()
        self.cycle.close()
        for channels in (self._avail_channels, self.channels):
            while channels:
                with contextlib.suppress(Exception):  # it is broken already
                    channels.pop().detach()


class SentinelTransport(Transport, redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel


class ClusterTransport(Transport):
    """``redis+cluster://`` and ``rediss+cluster://``; the option ``cluster_nodes`` has hosts and ports."""

    Channel = ClusterChannel
