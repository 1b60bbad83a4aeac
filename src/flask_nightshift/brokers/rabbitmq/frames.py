"""A message's frames, and what fits into one, whose maximum size client and server negotiate (``frame_max``).

The server closes the connection at a larger frame. We would take that for an outage and retry for ever (invariant 14),
so we check the size before we send a byte. The next state of a job is reduced until it fits: first to its last attempt,
then to none. A dead letter that does not fit carries its headers in its body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any

from amqp import Message
from amqp.serialization import dumps

from ...message.burial import DEAD_QUEUE, REFUSED_QUEUE
from ...message.envelope import Envelope
from ...message.oversize import lighter, wrapped
from ...options.publish import UnencodableHeader
from .properties import Unusual, encoded

AROUND = 64
"""Bytes of a header frame besides the properties, with a reserve."""
_OF_A_VALUE = 16
"""An upper bound on the bytes of a value besides its text."""

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
"""The kinds of frames."""
END = b"\xce"
_BASIC = 60
_PUBLISH = b"\x00\x3c\x00\x28"
"""The class and method of ``basic.publish``."""
_start = Struct(">BHI").pack
_header = Struct(">BHIHHQ").pack


class TooLarge(UnencodableHeader):
    """A message's headers do not fit into one frame; the text names the largest one."""


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame."""
    return b"".join((_start(kind, channel, len(payload)), payload, END))


def publish_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    """The method frame of a mandatory ``basic.publish``."""
    return frame(METHOD, channel, _PUBLISH + dumps("Bssbb", (0, exchange, routing_key, True, False)))


def message_frames(
    channel: int, method: bytes, properties: bytes | bytearray, body: bytes, frame_max: int
) -> Iterator[bytes]:
    """The bytes of a message, in one piece if it is small; ``method`` is its method frame."""
    header = _header(HEADER, channel, len(properties) + 12, _BASIC, 0, len(body))
    most = frame_max - 8
    if not body:
        yield b"".join((method, header, properties, END))
        return
    if len(body) <= most:
        yield b"".join((method, header, properties, END, _start(BODY, channel, len(body)), body, END))
        return
    yield b"".join((method, header, properties, END))
    for at in range(0, len(body), most):
        yield frame(BODY, channel, body[at : at + most])


def serialized(properties: dict[str, Any], frame_max: int) -> bytes | bytearray:
    """The properties of a message as py-amqp writes them; raises ``TooLarge``."""
    try:
        written = encoded(properties)
    except Unusual:
        written = Message(**properties)._serialize_properties()  # noqa: SLF001 - py-amqp's
    if len(written) > frame_max - AROUND:
        raise _too_large(properties.get("application_headers") or {}, len(written), frame_max)
    return written


def fitting(envelope: Envelope, queue: str, frame_max: int) -> Envelope:
    """``envelope``, reduced if its headers do not fit into one frame; raises ``TooLarge`` if that is not enough."""
    if _fits(envelope, frame_max):
        return envelope
    if queue in (DEAD_QUEUE, REFUSED_QUEUE):
        return wrapped(envelope)
    for version in lighter(envelope):
        if _fits(version, frame_max):
            return version
    check({"application_headers": envelope.headers, **envelope.properties}, frame_max)
    return envelope


def _fits(envelope: Envelope, frame_max: int) -> bool:
    try:
        check({"application_headers": envelope.headers}, frame_max)
    except TooLarge:
        return False
    return True


def check(properties: Mapping[str, Any], frame_max: int) -> None:
    """Raise ``TooLarge`` if these properties of a message do not fit into one frame of ``frame_max`` bytes."""
    headers = properties.get("application_headers") or {}
    if _at_most(headers) + 1024 > frame_max - AROUND:  # the few other properties have at most 255 bytes each
        serialized({"application_headers": headers}, frame_max)


def _too_large(headers: Mapping[str, Any], size: int, frame_max: int) -> TooLarge:
    name = max(headers, key=lambda each: _at_most(headers[each]))
    return TooLarge(
        f"the headers take {size:,} bytes, and RabbitMQ takes {frame_max - AROUND:,} (frame_max); "
        f"the largest is {name!r} with about {_at_most(headers[name]):,}: put that into the arguments"
    )


def _at_most(value: Any) -> int:
    """An upper bound on the bytes of ``value`` in a header, without encoding it."""
    if isinstance(value, str):
        return _OF_A_VALUE + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _OF_A_VALUE + len(value)
    if isinstance(value, Mapping):
        return _OF_A_VALUE + sum(_at_most(name) + _at_most(each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return _OF_A_VALUE + sum(map(_at_most, value))
    return _OF_A_VALUE


__all__ = [
    "BODY",
    "END",
    "HEADER",
    "HEARTBEAT",
    "METHOD",
    "TooLarge",
    "check",
    "fitting",
    "frame",
    "message_frames",
    "publish_frame",
    "serialized",
]
