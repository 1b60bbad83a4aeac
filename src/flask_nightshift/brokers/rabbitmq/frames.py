"""RabbitMQ takes a message's headers in one frame, of a size that client and server agree upon (``frame_max``).

What is larger makes the server close the connection: it would look like a broker that is away, and be tried for ever
(invariant 14). So the size is checked before a byte is sent. A job's next state is made lighter until it fits: of the
attempts that travel with it only the last stay, then none. A dead letter that does not fit carries its headers in its
body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amqp import Message
from amqp.method_framing import frame_writer as amqp_frame_writer

from ...message.burial import DEAD_QUEUE, REFUSED_QUEUE
from ...message.envelope import Envelope
from ...message.lighter import lighter, wrapped
from ...options.publish import Unwritable

AROUND = 64
"""Bytes of a header frame that are no headers, and to spare."""
_OF_A_VALUE = 16
"""More bytes than a value takes besides its text."""


class TooLarge(Unwritable):
    """A message's headers do not fit into a frame; says which is the largest."""


def frame_writer(connection: Any, transport: Any) -> Callable[..., None]:
    """py-amqp's, for its option ``frame_writer``; raises ``TooLarge`` before it sends headers that do not fit."""
    write = amqp_frame_writer(connection, transport)

    def write_frame(kind: int, channel: int, method: Any, args: Any, content: Any) -> None:
        if content is not None:
            check(content.properties, connection.frame_max, content)
        write(kind, channel, method, args, content)

    return write_frame


def fitting(envelope: Envelope, queue: str, frame_max: int) -> Envelope:
    """``envelope``, as it is or so that it fits; raises ``TooLarge`` if it cannot be made to."""
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


def check(properties: Mapping[str, Any], frame_max: int, content: Any = None) -> None:
    """Raise ``TooLarge`` if these properties of a message do not fit into one frame of ``frame_max`` bytes."""
    headers = properties.get("application_headers") or {}
    most = frame_max - AROUND
    if _at_most(headers) + 1024 <= most:  # the other properties have 255 bytes at most, and are few
        return
    size = len((content or Message(application_headers=headers))._serialize_properties())  # noqa: SLF001 - py-amqp's
    if size <= most:
        return
    name = max(headers, key=lambda each: _at_most(headers[each]))
    raise TooLarge(
        f"the headers take {size:,} bytes, and RabbitMQ takes {most:,} (frame_max); "
        f"the largest is {name!r} with about {_at_most(headers[name]):,}: put that into the arguments"
    )


def _at_most(value: Any) -> int:
    """No fewer bytes than ``value`` takes in a header, without encoding it."""
    if isinstance(value, str):
        return _OF_A_VALUE + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _OF_A_VALUE + len(value)
    if isinstance(value, Mapping):
        return _OF_A_VALUE + sum(_at_most(name) + _at_most(each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return _OF_A_VALUE + sum(map(_at_most, value))
    return _OF_A_VALUE


__all__ = ["TooLarge", "check", "fitting", "frame_writer"]
