"""Publishes over one of our connections, and waits for the broker's confirmations, without kombu's producer.

A publish is mandatory and persistent. It ends when the broker has confirmed or refused each of its messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from time import monotonic
from typing import Any

from amqp.exceptions import MessageNacked, RecoverableConnectionError
from kombu import Producer

from ...message.envelope import Envelope
from .frames import message_frames, publish_frame, serialized
from .reading import FrameReader
from .writing import FrameWriter

PERSISTENT = 2
_PER_WRITE = 32768
"""Bytes of small messages in one write, so that the broker works on them while we encode the next ones."""
_MOST_TARGETS = 1000


def outbox_of(connection: Any) -> Outbox | None:
    """The outbox of a kombu connection, which it opens on first use.

    None if the user chose another frame writer or handler, or if somebody wraps ``Producer.publish``, as Sentry does:
    then publish with a producer.
    """
    if getattr(Producer.publish, "__globals__", {}).get("__name__") != "kombu.messaging":
        return None
    wire = connection.connection
    writer, reader = wire.frame_writer, wire.on_inbound_frame
    if not (isinstance(writer, FrameWriter) and isinstance(reader, FrameReader)):
        return None
    if writer.outbox is None:
        reader.watched = False
        writer.outbox = Outbox(wire, writer, reader)
    outbox: Outbox = writer.outbox
    return outbox


class Outbox:
    """A channel in confirm mode; one thread at a time uses it, and after an error its connection is dropped."""

    def __init__(self, wire: Any, writer: FrameWriter, reader: FrameReader) -> None:
        self._wire, self._writer = wire, writer
        channel = self._channel = wire.channel()
        channel.confirm_select()
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        reader.listen(channel.channel_id, self._on_ack)
        self._targets: dict[tuple[str, str], bytes] = {}
        self._last = 0
        self._open: dict[int, Envelope] = {}  # in ascending order
        self._refused: dict[int, Envelope] = {}
        self._unroutable: Exception | None = None

    @property
    def unconfirmed(self) -> list[Envelope]:
        """The messages of the last ``publish`` that the broker has not confirmed."""
        found = {**self._open, **self._refused}
        return [found[number] for number in sorted(found)]

    def publish(self, messages: Sequence[Envelope], exchange: str, routing_key: str, timeout: float) -> None:
        """Publish ``messages``; ``timeout`` is the maximum time in seconds of one write, and between confirmations.

        Raises ``TooLarge``, and py-amqp's errors: ``MessageNacked``, an unroutable message (``reply_code`` 312), a
        broken connection. Then ``unconfirmed`` says what to publish again.
        """
        pieces: Iterable[bytes] = self._frames(messages, exchange, routing_key)
        if len(messages) == 1:
            pieces = list(pieces)  # all errors of its content, before it gets a number
        first = self._last + 1
        self._last += len(messages)
        everything = dict(enumerate(messages, first))
        self._open = dict(everything)
        self._writer.write(_grouped(pieces), timeout)
        self._wait(timeout)
        if self._unroutable is not None:
            self._open = (
                everything  # the broker also confirms a returned message, and does not say which one it is
            )
            raise self._unroutable
        if self._refused:
            raise MessageNacked

    def _frames(self, messages: Sequence[Envelope], exchange: str, routing_key: str) -> Iterator[bytes]:
        channel, frame_max = self._channel.channel_id, self._wire.frame_max
        if channel is None:
            raise RecoverableConnectionError("the channel is closed")
        target = exchange, routing_key
        method = self._targets.get(target)
        if method is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            method = self._targets[target] = publish_frame(channel, exchange, routing_key)
        for message in messages:
            yield from message_frames(
                channel, method, _properties(message, frame_max), message.body, frame_max
            )

    def _wait(self, timeout: float) -> None:
        """Wait until the broker has confirmed or refused each message."""
        while self._open:
            before = len(self._open)
            deadline = monotonic() + timeout
            while len(self._open) == before:
                self._wire.drain_events(timeout=max(0.01, deadline - monotonic()))

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._take(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused.update(self._take(tag, multiple))

    def _on_return(self, exc: Exception, *_: Any) -> None:
        self._unroutable = exc

    def _take(self, tag: int, multiple: bool) -> dict[int, Envelope]:
        """The open messages that an answer is about, no longer open."""
        if not multiple:
            return {tag: self._open.pop(tag)} if tag in self._open else {}
        numbers = list(takewhile(tag.__ge__, self._open))
        return {number: self._open.pop(number) for number in numbers}


def _properties(envelope: Envelope, frame_max: int) -> bytes | bytearray:
    """The properties of ``envelope`` as ``kombu.Producer`` would write them."""
    properties = {
        "content_type": envelope.content_type,
        "content_encoding": envelope.content_encoding,
        "application_headers": envelope.headers,
        "delivery_mode": PERSISTENT,
        "priority": 0,
        **envelope.properties,
    }
    if (seconds := properties.get("expiration")) is not None:
        properties["expiration"] = str(int(seconds * 1000))
    return serialized(properties, frame_max)


def _grouped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """``pieces`` joined to writes of about ``_PER_WRITE`` bytes."""
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= _PER_WRITE:
            yield b"".join(group)
            group, size = [], 0
    if group:
        yield b"".join(group)


__all__ = ["Outbox", "outbox_of"]
