"""A message as a consumer gets it: kombu's, but quick to decode where its body is plain JSON."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from kombu.transport import virtual

from ...payload import COUNT
from ...plain_json import content

_UNPROVEN: weakref.WeakSet[Message] = weakref.WeakSet()


class Message(virtual.Message):
    """kombu's message; ``decode()`` and ``payload`` give and raise what kombu's do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if COUNT in self.headers:
            _UNPROVEN.add(self)

    def _decode(self) -> Any:
        with contextlib.suppress(ValueError):
            return content(self)
        return super()._decode()


def unproven_in_hand() -> bool:
    """Whether this process has a message that was begun before and never settled: it may end its worker again."""
    return any(
        not message.acknowledged and message.channel.has(message.delivery_tag) for message in list(_UNPROVEN)
    )
