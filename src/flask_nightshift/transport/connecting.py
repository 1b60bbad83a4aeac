"""The kombu transports: how a connection begins, and its two ways to end."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from kombu.transport import redis

from .channel import Channel, SentinelChannel
from .poller import Poller

logger = logging.getLogger("flask_nightshift.transport")


class _LeaseMixin:
    """What both transports have in common."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle.close()
        self.cycle = Poller()

    def _collect(self: Any, connection: Any) -> None:  # noqa: ARG002 - kombu's signature
        """End after trouble: nobody waits for the server, and the jobs that run stay leased to this process."""
        self.cycle.close()
        for channels in (self._avail_channels, self.channels):
            while channels:
                with contextlib.suppress(Exception):  # it is broken already
                    channels.pop().detach()


class Transport(_LeaseMixin, redis.Transport):
    """``redis://``, ``rediss://`` and ``redis+socket://``."""

    Channel = Channel


class SentinelTransport(_LeaseMixin, redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel
