"""Keeps a message's headers within one AMQP frame, whose maximum size client and server negotiate (``frame_max``).

The server closes the connection at a larger frame. We would take that for an outage and retry for ever (invariant 14),
so we check the size before we send a byte. The next state of a job is reduced until it fits: first to its last attempt,
then to none. A dead letter that does not fit carries its headers in its body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from amqp import Message
from amqp.method_framing import frame_writer as amqp_frame_writer

from ...message.burial import DEAD_QUEUE, REFUSED_QUEUE
from ...message.envelope import Envelope
from ...message.oversize import lighter, wrapped
from ...options.publish import UnencodableHeader

AROUND = 64
"""Bytes of a header frame besides the properties, with a reserve."""
_OF_A_VALUE = 16
"""An upper bound on the bytes of a value besides its text."""


class TooLarge(UnencodableHeader):
    """A message's headers do not fit into one frame; the text names the largest one."""


def frame_writer(connection: Any, transport: Any) -> Callable[..., None]:
    """A frame writer for py-amqp's option of that name; it raises ``TooLarge`` for headers that do not fit."""
    write = amqp_frame_writer(connection, transport)

    def write_frame(kind: int, channel: int, method: Any, args: Any, content: Any) -> None:
        if content is not None:
            check(content.properties, connection.frame_max, content)
        write(kind, channel, method, args, content)

    return write_frame


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


def check(properties: Mapping[str, Any], frame_max: int, content: Any = None) -> None:
    """Raise ``TooLarge`` if these properties of a message do not fit into one frame of ``frame_max`` bytes."""
    headers = properties.get("application_headers") or {}
    most = frame_max - AROUND
    if _at_most(headers) + 1024 <= most:  # the few other properties have at most 255 bytes each
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


__all__ = ["TooLarge", "check", "fitting", "frame_writer"]
