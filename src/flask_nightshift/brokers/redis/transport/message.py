"""A message as a consumer gets it: kombu's, but quick to decode where its body is plain JSON."""

from __future__ import annotations

import weakref
from binascii import a2b_base64
from typing import Any

from kombu.transport import virtual

from ...connections import ack_log_error
from ...payload import COUNT
from ...plain_json import content

_UNPROVEN: weakref.WeakSet[Message] = weakref.WeakSet()


class Message(virtual.Message):
    """kombu's message; ``decode()`` and ``payload`` give and raise what kombu's do."""

    def __init__(self, payload: dict[str, Any], channel: Any = None, **options: Any) -> None:
        if options or not self._fill_in(payload, channel):
            super().__init__(payload, channel, **options)
        if COUNT in self.headers:
            _UNPROVEN.add(self)

    ack_log_error = ack_log_error

    def _fill_in(self, payload: dict[str, Any], channel: Any) -> bool:
        """Set what kombu's ``__init__`` sets; False if the message is not as Celery's producers write it."""
        headers, properties, body = payload.get("headers"), payload["properties"], payload.get("body")
        if not (headers and body) or "compression" in headers or properties.get("body_encoding") != "base64":
            return False
        self._raw, self._state, self._decoded_cache = payload, "RECEIVED", None
        self.channel, self.accept = channel, None
        self.errors: list[Any] = []
        self.content_type, self.content_encoding = (
            payload.get("content-type"),
            payload.get("content-encoding"),
        )
        self.headers, self.properties = headers, properties
        self.delivery_tag, self.delivery_info = (
            properties["delivery_tag"],
            properties.get("delivery_info") or {},
        )
        self.body = a2b_base64(body)
        if isinstance(queue := self.delivery_info.get("queue"), str):  # ``payload.for_delivery`` has set it
            self.job_queue = queue
        return True

    def _decode(self) -> Any:
        try:
            return content(self)
        except ValueError:
            return super()._decode()


def unproven_in_hand() -> bool:
    """Whether this process has a message that was begun before and never settled: it may end its worker again."""
    return any(
        not message.acknowledged and message.channel.has(message.delivery_tag) for message in list(_UNPROVEN)
    )
