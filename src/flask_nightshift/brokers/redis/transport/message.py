"""A message as a consumer gets it: kombu's, but quick to decode where its body is plain JSON."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from kombu.transport import virtual

from ....message.codec import decode
from ...payload import COUNT

JSON = "application/json"
_UNPROVEN: weakref.WeakSet[Message] = weakref.WeakSet()


class Message(virtual.Message):
    """kombu's message; ``decode()`` and ``payload`` give and raise what kombu's do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if COUNT in self.headers:
            _UNPROVEN.add(self)

    def _decode(self) -> Any:
        """Almost every job is plain JSON, and kombu's reader calls a Python function for each object in it."""
        if self.content_type == JSON and self.accept and JSON in self.accept and self.body:
            with contextlib.suppress(ValueError):  # what cannot be read is kombu's to complain of
                return decode(self.body if isinstance(self.body, bytes) else self.body.encode())
        return super()._decode()


def unproven_in_hand() -> bool:
    """Whether this process has a message that was begun before and never settled: it may end its worker again."""
    return any(
        not message.acknowledged and message.channel.has(message.delivery_tag) for message in list(_UNPROVEN)
    )
