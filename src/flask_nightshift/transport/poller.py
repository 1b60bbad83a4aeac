"""The poller: kombu's, which also checks leases and can be woken from the keeper's thread."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from kombu.transport import redis
from kombu.utils.eventio import READ


class Poller(redis.MultiChannelPoller):
    """Before every poll the lease of each channel is verified; ``wake()`` ends a poll that is under way."""

    def __init__(self) -> None:
        super().__init__()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self.poller.register(self._wake_out, READ)

    def wake(self) -> None:
        """Have the consumer look again; safe to call from any thread."""
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._wake_in.send(b"\0")

    @property
    def fds(self) -> dict[int, Any]:
        """What the event loop is to watch."""
        watched = dict(super().fds)
        if self._wake_out.fileno() >= 0:
            watched[self._wake_out.fileno()] = (None, "WAKE")
        return watched

    def on_poll_start(self) -> None:
        """Verify the leases, then ask for what the channels have room for; raises ``LeaseLost``."""
        for channel in list(self._channels):
            channel.check_lease()
        super().on_poll_start()

    def on_readable(self, fileno: int) -> Any:
        """A reply, or a knock."""
        if fileno == self._wake_out.fileno():
            with contextlib.suppress(OSError):
                self._wake_out.recv(4096)
            return None
        return super().on_readable(fileno)

    def handle_event(self, fileno: int, event: int) -> Any:
        """A knock is no delivery: the caller polls on."""
        if fileno == self._wake_out.fileno():
            self.on_readable(fileno)
            return None
        return super().handle_event(fileno, event)

    def close(self) -> None:
        """Forget everything."""
        with contextlib.suppress(KeyError, ValueError, OSError):
            self.poller.unregister(self._wake_out)
        super().close()
        self._wake_in.close()
        self._wake_out.close()
