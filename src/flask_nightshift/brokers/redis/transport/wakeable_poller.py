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

_NONE = (None,)


class Poller(MultiChannelPoller):
    """All channels of one connection."""

    def __init__(self) -> None:
        super().__init__()
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._pid = os.getpid()
        self._loop: Any = None
        self._on_readable: Callable[[int], Any] | None = None
        self._wake_loop: Callable[[], Any] | None = None

    def wake(self) -> None:
        """Make the loop go round; safe from any thread."""
        if self._wake_loop is not None:
            self._wake_loop()
        elif os.getpid() == self._pid:
            with contextlib.suppress(OSError):  # full: it is awake; closed: it is gone
                self._outside.send(b"\0")

    def in_event_loop(self, loop: Any, on_readable: Callable[[int], Any]) -> None:
        """An event loop drives this poller from now on, and calls ``on_readable`` for its sockets."""
        self._loop, self._on_readable = loop, on_readable
        self._wake_loop = lambda: loop.call_soon(_nothing)

    @property
    def fds(self) -> dict[int, Any]:
        """The sockets that are to be read; an event loop is asked at every turn to add only those it lacks."""
        known: dict[int, Any] = super().fds
        if self._loop is None:
            return known
        readers = self._loop.readers
        return {fd: known[fd] for fd in known if readers.get(fd, _NONE)[0] != self._on_readable}

    def on_poll_start(self) -> None:
        """Before every poll, so often and in no time; raises ``LeaseLost`` if a channel's lease was taken.

        A channel that waits for an answer already, or has no use for one, is asked nothing.
        """
        if self._paused_brpop:
            self._update_brpop_polling()
        for channel in list(self._channels):
            channel.consumer.check_lease()
            if not channel._in_poll and channel.consumer.has_to_ask() and channel.active_queues:  # noqa: SLF001 - as kombu does
                channel.leave_closed()
                self._register_BRPOP(channel)
            channel.consumer.claim_behind_wait()
            if not channel._in_listen and channel.active_fanout_queues:  # noqa: SLF001
                self._register_LISTEN(channel)

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
