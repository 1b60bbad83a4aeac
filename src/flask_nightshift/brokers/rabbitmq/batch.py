"""Publishes many messages to RabbitMQ and waits for all confirmations together, to save a round trip per message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...message.envelope import Envelope
from ..connections import publish
from .confirming import outbox_of
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
        """Publish the unconfirmed messages; see ``Outbox.publish``."""
        outbox = outbox_of(connection)
        if outbox is None:
            self._publish_one_by_one(connection, exchange, routing_key, timeout)
            return
        try:
            outbox.publish(self._waiting, exchange, routing_key, timeout)
        finally:
            self._waiting = outbox.unconfirmed

    def _publish_one_by_one(self, connection: Any, exchange: str, routing_key: str, timeout: float) -> None:
        limits = {"timeout": timeout, "confirm_timeout": timeout}
        while self._waiting:
            publish(
                connection.default_channel, self._waiting[0], exchange, routing_key, mandatory=True, **limits
            )
            del self._waiting[0]
