"""Writes the frames of a connection: each message in one piece, its headers encoded by us (``properties.py``).

py-amqp takes a writer by its option ``frame_writer``, so everything that is published over one of our connections goes
through it, also what Celery publishes. It raises ``TooLarge`` for headers that do not fit into one frame.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from struct import Struct
from typing import Any

from amqp import spec

from ...text.lines import Line as LogLine
from ..failures import errors
from .acks import HeldAcks
from .frames import METHOD, frame, message_frames, serialized
from .sockets import Line

logger = logging.getLogger("flask_nightshift.brokers.link")
_signature = Struct(">HH").pack


class FrameWriter:
    """The writer of one py-amqp connection."""

    def __init__(self, connection: Any, transport: Any) -> None:
        self._connection, self._transport = connection, transport
        self._line = Line(transport)
        self._lock = threading.Lock()  # made here, as gevent may have replaced it since the import
        self._acks: HeldAcks | None = None
        self._loop: Any = None
        self.outbox: Any = None
        """See ``confirming.outbox_of``."""

    def __call__(self, kind: int, channel: int, method: Any, args: Any, content: Any) -> None:
        """Write a method, with the message ``content`` if there is one, or a heartbeat; py-amqp's interface."""
        if kind == METHOD:
            args = args.encode("utf-8", "surrogatepass") if isinstance(args, str) else args
            if method == spec.Basic.Ack and self._holds(channel, args):
                return
        first = frame(kind, channel, _signature(*method) + args if kind == METHOD else b"")
        if content is None:
            self.write((first,))
        else:
            body = content.body
            if isinstance(body, str):
                body = body.encode(content.properties.setdefault("content_encoding", "utf-8"))
            frame_max = self._connection.frame_max
            properties = serialized(content.properties, frame_max)
            self.write(message_frames(channel, first, properties, body, frame_max))
        if self._acks is not None and kind == METHOD:
            with self._lock:
                self._acks.wrote(channel, method, args)

    def write(self, pieces: Iterable[bytes], timeout: float | None = None) -> None:
        """Send ``pieces`` one after the other, each within ``timeout`` seconds; None: as the socket is set."""
        with self._lock:
            if self._acks is not None and (held := self._acks.take()):
                self._send(held, timeout)
            for piece in pieces:
                self._send(piece, timeout)

    def _send(self, data: bytes, timeout: float | None) -> None:
        self._line.send(data, timeout)
        self._connection.bytes_sent += 1  # heartbeats look at it

    # -- acknowledgements

    def hold_acks(self, loop: Any) -> HeldAcks:
        """From now on write the acknowledgements of each turn of ``loop``, kombu's event loop, together."""
        self._loop = loop
        self._acks = HeldAcks(self._soon)
        return self._acks

    def _soon(self) -> None:
        """Have ``write_acks`` called before the loop waits again, also if it has ended and only serves calls."""
        self._loop.call_soon(self.write_acks)
        self._loop.on_tick.add(self.write_acks)  # call_soon from a timer comes after the wait

    def write_acks(self) -> None:
        """Write what is held back; never raises a broker's error, as ``connections.acknowledge``."""
        if self._acks is None:
            return
        self._loop.on_tick.discard(self.write_acks)
        try:
            self.write(())
        except errors() as exc:
            text = f"jobs are settled, could not be acknowledged, and will come again: {exc!r}"
            logger.warning(LogLine("job.unacknowledged", text, why=repr(exc)))

    def _holds(self, channel: int, args: bytes) -> bool:
        if self._acks is None or not self._transport.connected:
            return False
        with self._lock:
            return self._acks.hold(channel, args)


__all__ = ["FrameWriter"]
