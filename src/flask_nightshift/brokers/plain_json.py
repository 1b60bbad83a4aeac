"""The content of a message whose body is plain JSON, as almost every job's is.

kombu's reader calls a Python function for each object in it.
"""

from __future__ import annotations

from typing import Any

from ..message.codec import decode, json_is_kombus

JSON = "application/json"


def content(message: Any) -> Any:
    """What ``message.payload`` would be; raises ``ValueError`` where only kombu can say that, or must complain."""
    wanted = message.accept and JSON in message.accept and message.body
    if message.content_type != JSON or not wanted or not json_is_kombus():
        raise ValueError(message.content_type)
    return decode(message.body if isinstance(message.body, bytes) else message.body.encode())


__all__ = ["JSON", "content"]
