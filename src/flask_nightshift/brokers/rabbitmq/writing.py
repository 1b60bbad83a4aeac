"""Writes the frames of a connection: each message in one piece, its headers encoded by us (``properties.py``).

py-amqp takes a writer by its option ``frame_writer``, so everything that is published over one of our connections goes
through it, also what Celery publishes. It raises ``TooLarge`` for headers that do not fit into one frame.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from struct import Struct
from typing import Any

from .frames import METHOD, frame, message_frames, serialized
from .sockets import Line

_signature = Struct(">HH").pack


class FrameWriter:
    """The writer of one py-amqp connection."""

    def __init__(self, connection: Any, transport: Any) -> None:
        self._connection = connection
        self._line = Line(transport)
        self._lock = threading.Lock()  # made here, as gevent may have replaced it since the import
        self.outbox: Any = None
        """See ``confirming.outbox_of``."""

    def __call__(self, kind: int, channel: int, method: Any, args: Any, content: Any) -> None:
        """Write a method, with the message ``content`` if there is one, or a heartbeat; py-amqp's interface."""
        payload = b""
        if kind == METHOD:
            payload = _signature(*method) + (
                args.encode("utf-8", "surrogatepass") if isinstance(args, str) else args
            )
        first = frame(kind, channel, payload)
        if content is None:
            self.write((first,))
            return
        body = content.body
        if isinstance(body, str):
            body = body.encode(content.properties.setdefault("content_encoding", "utf-8"))
        frame_max = self._connection.frame_max
        properties = serialized(content.properties, frame_max)
        self.write(message_frames(channel, first, properties, body, frame_max))

    def write(self, pieces: Iterable[bytes], timeout: float | None = None) -> None:
        """Send ``pieces`` one after the other, each within ``timeout`` seconds; None: as the socket is set."""
        with self._lock:
            for piece in pieces:
                self._line.send(piece, timeout)
        self._connection.bytes_sent += 1  # heartbeats look at it


__all__ = ["FrameWriter"]
