"""The kombu transports: which channel and poller they use, what counts as a lost connection, what follows."""

from __future__ import annotations

from typing import Any

from kombu.connection import resolve_aliases
from kombu.transport import redis
from redis.exceptions import ReadOnlyError

from .channel import Channel, SentinelChannel
from .poller import Poller

# what people see of a connection's URL is the scheme that they know
resolve_aliases["flask_nightshift.transport:Transport"] = "redis"
resolve_aliases["flask_nightshift.transport:SentinelTransport"] = "sentinel"


class Transport(redis.Transport):
    """One Redis or Valkey server."""

    Channel = Channel

    # after a failover the old master refuses to write: connect anew, to the new one
    connection_errors = (*redis.Transport.connection_errors, ReadOnlyError)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Let ``loop`` drive the channels of ``connection``."""
        super().register_with_event_loop(connection, loop)
        self.cycle.in_event_loop(loop)

    def _collect(self, connection: Any) -> None:
        """What kombu and Celery call when the connection broke, instead of closing it in good order.

        The jobs that are running go on; so they stay leased, and are settled over connections of the lease's
        own. Nothing else of the connection is needed any more.
        """
        if connection is None:
            return
        self.cycle.close()
        for channels in (self._avail_channels, self.channels):
            while channels:
                channels.pop().detach()


class SentinelTransport(Transport):
    """The master of a group that Redis Sentinel watches (``sentinel://a;sentinel://b``)."""

    default_port = 26379
    Channel = SentinelChannel
