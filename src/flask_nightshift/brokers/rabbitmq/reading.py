"""Reads the frames of a connection: many with one system call, and a message without py-amqp's detours.

py-amqp reads each of a message's three frames in three pieces. Whatever is not a whole delivery in the buffer goes
through py-amqp's own code, frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from amqp import Message
from amqp.exceptions import UnexpectedFrame
from amqp.method_framing import frame_handler as amqp_frame_handler
from kombu.asynchronous import get_event_loop

from .frames import BODY, HEADER, METHOD
from .properties import Unusual, decoded
from .sockets import Line

QUICK = 0.1
"""The timeout in seconds with which Celery's loop for greenlets drains its connection for events after each message."""
AT_ONCE = 65536
"""Bytes to ask the socket for."""
_HEAD = 7
_END = 0xCE
_DELIVER = b"\x00\x3c\x00\x3c"
_DELIVERIES = _DELIVER, b"\x00\x3c\x00\x47"  # basic.get-ok
_ACK = b"\x00\x3c\x00\x50"
_MOST_PLACES = 1000
_head = Struct(">BHI").unpack_from
_long = Struct(">Q").unpack_from
_confirmation = Struct(">4xQB").unpack

Confirmed = Callable[[int, bool], None]


class FrameReader:
    """The reader of one py-amqp connection; it replaces the connection's ``blocking_read``.

    A blocking read takes from the socket only what it needs if an event loop may watch the socket: the loop would not
    see what waits here.
    """

    def __init__(self, connection: Any, callback: Callable[..., Any]) -> None:
        self._connection = connection
        self._line = Line(connection.transport)
        self._by_amqp = amqp_frame_handler(connection, callback)
        self._buffer, self._at = b"", 0
        self._places: dict[bytes, tuple[str, str]] = {}
        self._confirming: tuple[int, Confirmed | None] = (0, None)
        self.delivered: Callable[[int, int], None] | None = None
        """Called with channel and delivery tag of each delivery that must be settled, before its receiver."""
        self.watched = True
        """Whether an event loop may watch the socket."""
        self.one_by_one = False
        """Whether each read handles one method, as a job runs in it; the loop reads again until all are handled."""
        connection.blocking_read = self.read

    def listen(self, channel: int, confirmed: Confirmed) -> None:
        """Call ``confirmed(delivery_tag, multiple)`` for each ``basic.ack`` on ``channel``."""
        self._confirming = channel, confirmed

    def read(self, timeout: float | None = None) -> bool:
        """Handle at least one method, with ``timeout`` 0 all that are there; raises ``TimeoutError`` if there is none.

        ``timeout`` in seconds, None for the connection's own limit, applies to each wait for the server.
        """
        if timeout == QUICK and not self._consumes():
            timeout = 0  # only heartbeats can come, and jobs would wait for them
        handled = False
        while True:
            missing = self._missing()
            if missing:
                if handled:
                    return True
                self._receive(missing, timeout)
            else:
                handled = self._next() or handled
                if handled and (timeout != 0 or self.one_by_one):
                    return True

    def _consumes(self) -> bool:
        channels = (self._connection.channels or {}).values()
        return any(getattr(channel, "callbacks", None) for channel in channels)

    def _missing(self) -> int:
        """The number of bytes that the next frame still lacks, as far as we know."""
        here = len(self._buffer) - self._at
        if here < _HEAD:
            return _HEAD - here
        return max(0, _head(self._buffer, self._at)[2] + _HEAD + 1 - here)

    def _receive(self, missing: int, timeout: float | None) -> None:
        greedy = timeout == 0 or not self.watched or get_event_loop() is None
        data = self._line.receive(AT_ONCE if greedy else missing, timeout)
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def _next(self) -> bool:
        """Handle the next frame, or the three of a delivery; returns whether a method is complete."""
        buffer, at = self._buffer, self._at
        kind, channel, size = _head(buffer, at)
        end = at + size + _HEAD + 1
        if buffer[end - 1] != _END:
            raise UnexpectedFrame(f"Received frame_end {buffer[end - 1]:#04x} while expecting 0xce")
        if kind == METHOD and buffer.startswith(_DELIVERIES, at + _HEAD):
            if self.delivered is not None:
                self._tell(self.delivered, channel, at + _HEAD)
            if buffer.startswith(_DELIVER, at + _HEAD) and self._hand_over(channel, at, end):
                return True
        self._at = end
        return self((kind, channel, buffer[at + _HEAD : end - 1]))

    def __call__(self, frame: tuple[int, int, bytes]) -> bool:
        """Handle one frame, as py-amqp's handler does."""
        kind, channel, payload = frame
        if kind == METHOD and channel == self._confirming[0] and payload.startswith(_ACK):
            confirmed = self._confirming[1]
            if confirmed is not None:
                self._connection.bytes_recv += 1
                tag, multiple = _confirmation(payload)
                confirmed(tag, bool(multiple & 1))
                return True
        return bool(self._by_amqp(frame))

    # -- a delivery

    def _tell(self, delivered: Callable[[int, int], None], channel_id: int, at: int) -> None:
        """Tell ``delivered`` of the delivery whose method is at ``at``, unless it needs no acknowledgement."""
        buffer = self._buffer
        at += 4
        if buffer.startswith(_DELIVER, at - 4):
            end = at + 1 + buffer[at]
            channel = (self._connection.channels or {}).get(channel_id)
            if channel is not None and buffer[at + 1 : end].decode() in channel.no_ack_consumers:
                return
            at = end
        delivered(channel_id, _long(buffer, at)[0])

    def _hand_over(self, channel_id: int, at: int, end: int) -> bool:
        """Hand over the message whose method frame is at ``at``; False if py-amqp has to do it."""
        buffer = self._buffer
        header = self._frame(end, HEADER, channel_id)
        if header is None:
            return False
        last, (size,) = header, _long(buffer, end + _HEAD + 4)
        if size:
            body = self._frame(header, BODY, channel_id)
            if body is None or body - header - _HEAD - 1 != size:
                return False
            last = body
        channel = (self._connection.channels or {}).get(channel_id)
        if channel is None or channel.is_closing:
            return False
        name_at = at + _HEAD + 5
        name_end = name_at + buffer[name_at - 1]
        consumer = buffer[name_at:name_end].decode()
        receive = channel.callbacks.get(consumer)
        if receive is None:
            return False
        try:
            properties = decoded(buffer, end + _HEAD + 12)
        except Unusual:
            return False
        exchange, routing_key = self._place(buffer[name_end + 9 : end - 1])
        message = Message(buffer[header + _HEAD : last - 1] if size else "", channel=channel)
        message.properties = properties
        message.delivery_info = {
            "consumer_tag": consumer,
            "delivery_tag": _long(buffer, name_end)[0],
            "redelivered": bool(buffer[name_end + 8] & 1),
            "exchange": exchange,
            "routing_key": routing_key,
        }
        if size and channel.auto_decode:
            _decode_body(message)
        self._at = last
        self._connection.bytes_recv += 3
        receive(message)
        return True

    def _frame(self, at: int, kind: int, channel: int) -> int | None:
        """The end of the whole frame of this kind and channel that begins at ``at``; None if there is none."""
        buffer = self._buffer
        if len(buffer) < at + _HEAD:
            return None
        its_kind, its_channel, size = _head(buffer, at)
        end: int = at + size + _HEAD + 1
        if its_kind != kind or its_channel != channel or len(buffer) < end or buffer[end - 1] != _END:
            return None
        return end

    def _place(self, written: bytes) -> tuple[str, str]:
        """Exchange and routing key of a delivery; a consumer sees few different ones."""
        found = self._places.get(written)
        if found is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            exchange_end = 1 + written[0]
            found = written[1:exchange_end].decode(), written[exchange_end + 1 :].decode()
            self._places[written] = found
        return found


def _decode_body(message: Message) -> None:
    """Decode the body as py-amqp's channels do (``auto_decode``)."""
    encoding = message.properties.get("content_encoding")
    if encoding is not None:
        try:
            message.body = message.body.decode(encoding)
        except Exception:  # noqa: BLE001 - as py-amqp: the body stays bytes
            return


__all__ = ["FrameReader"]
