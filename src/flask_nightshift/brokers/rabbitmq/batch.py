"""Publishes many messages to RabbitMQ and waits for all confirmations together, to save a round trip per message."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from amqp.exceptions import MessageNacked
from kombu import Producer

from ...message.envelope import Envelope
from ..connections import publish_by
from .fast_declare import open_channel
from .frames import check


class Batch:
    """Messages to publish; a repeated ``publish`` skips those that the broker has confirmed."""

    def __init__(self, envelopes: Sequence[Envelope]) -> None:
        self.size = len(envelopes)
        self._waiting = list(envelopes)

    def check(self, frame_max: int) -> None:
        """Raise ``TooLarge`` if the headers of a message do not fit into one frame; then nothing is published.

        It checks the message with the longest ``argsrepr`` and ``kwargsrepr``, because only their sizes differ.
        """
        longest = max(
            self._waiting,
            key=lambda each: sum(len(each.headers.get(name) or "") for name in ("argsrepr", "kwargsrepr")),
        )
        check({"application_headers": longest.headers}, frame_max)

    def publish(self, connection: Any, exchange: str, routing_key: str, timeout: float) -> None:
        """Publish the unconfirmed messages as mandatory, and wait for their confirmations.

        ``timeout`` is the maximum time in seconds between two confirmations. Raises py-amqp's errors:
        ``MessageNacked``, an unroutable message (``reply_code`` 312), a broken connection.
        """
        with open_channel(connection) as channel:
            confirms = _Confirms(channel, len(self._waiting))
            producer = Producer(channel, auto_declare=False)
            try:
                for message in self._waiting:
                    publish_by(producer, message, exchange, routing_key, mandatory=True, timeout=timeout)
                confirms.wait(connection, timeout)
            finally:
                done = confirms.done
                self._waiting = [message for at, message in enumerate(self._waiting, 1) if at not in done]


class _Confirms:
    """The broker's confirmations of the messages of one channel, which have the numbers 1 to ``count``."""

    def __init__(self, channel: Any, count: int) -> None:
        self._open = set(range(1, count + 1))
        self.done: set[int] = set()
        self._refused = False
        self._returned: Exception | None = None
        channel.confirm_select()
        channel.basic_publish = channel._basic_publish  # noqa: SLF001 - it does not wait for the confirmation
        channel.events["basic_ack"].add(self._acked)
        channel.events["basic_nack"].add(self._nacked)
        channel.events["basic_return"].add(self._returned_to_us)

    def wait(self, connection: Any, timeout: float) -> None:
        """Wait until the broker has confirmed or refused each message."""
        while self._open:
            before = len(self._open)
            deadline = monotonic() + timeout
            while len(self._open) == before:
                connection.drain_events(timeout=max(0.01, deadline - monotonic()))
        if self._returned is not None:
            self.done.clear()  # the broker also confirms a returned message, and does not say which one it is
            raise self._returned
        if self._refused:
            raise MessageNacked

    def _numbers(self, delivery_tag: int, multiple: bool) -> set[int]:
        return {at for at in self._open if at <= delivery_tag} if multiple else {delivery_tag}

    def _acked(self, delivery_tag: int, multiple: bool) -> None:
        numbers = self._numbers(delivery_tag, multiple)
        self._open -= numbers
        self.done |= numbers

    def _nacked(self, delivery_tag: int, multiple: bool) -> None:
        self._open -= self._numbers(delivery_tag, multiple)
        self._refused = True

    def _returned_to_us(self, exc: Exception, *_: Any) -> None:
        self._returned = exc
