"""The loop's view of the channels: kombu's poller, which can also be woken.

An acknowledgement may come from another thread while this one waits for the server; the capacity that it
frees is to be used at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from kombu.transport.redis import MultiChannelPoller
from kombu.utils.eventio import READ


class Poller(MultiChannelPoller):
    """All channels of one connection."""

    def __init__(self) -> None:
        super().__init__()
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._pid = os.getpid()
        self._wake_loop: Callable[[], Any] | None = None

    def wake(self) -> None:
        """Make the loop go round; safe from any thread."""
        if self._wake_loop is not None:
            self._wake_loop()
        elif os.getpid() == self._pid:
            with contextlib.suppress(OSError):  # full: it is awake; closed: it is gone
                self._outside.send(b"\0")

    def in_event_loop(self, loop: Any) -> None:
        """An event loop drives this poller from now on."""
        self._wake_loop = lambda: loop.call_soon(_nothing)

    def on_poll_start(self) -> None:
        """Before every poll; raises ``LeaseLost`` if a channel's lease was taken."""
        for channel in list(self._channels):
            channel.check_lease()
        super().on_poll_start()

    def get(self, callback: Any, timeout: float | None = None) -> Any:
        """One round of ``drain_events``; raises ``queue.Empty`` if nothing was delivered."""
        if self._inside.fileno() >= 0:
            self.poller.register(self._inside, READ)
        return super().get(callback, timeout)

    def handle_event(self, fileno: int, event: int) -> Any:
        """Something happened on one of our sockets."""
        if fileno == self._inside.fileno():
            with contextlib.suppress(OSError):
                self._inside.recv(4096)
            return None
        return super().handle_event(fileno, event)

    def close(self) -> None:
        """No channel is polled any more."""
        super().close()
        with contextlib.suppress(KeyError, ValueError, OSError):
            self.poller.unregister(self._inside)
        self._inside.close()
        self._outside.close()


def _nothing() -> None:
    """What the loop is asked to do when it is only to look around."""
