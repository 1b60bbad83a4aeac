"""A job's message before it is published: one value for publish, delay, dead letter, return and replay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from .headers import job_properties


class Envelope(Struct, frozen=True):  # each job creates one; a frozen dataclass takes four times as long
    """An encoded message: body, headers and properties, without a destination.

    ``plain`` says that its headers and properties contain only texts, finite numbers, None, and lists and dicts of
    them, so an encoder need not look.
    """

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any] = {}
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    plain: bool = False

    def due_at(self, due: datetime | None) -> Envelope:
        """The same message with ``due`` in its ``eta`` header (None: it may start at once)."""
        if due is None and not self.headers.get("eta"):
            return self
        return replace(self, headers={**self.headers, "eta": due.isoformat() if due is not None else None})


def envelope_of(
    message: Any, headers: dict[str, Any], body: tuple[str, str, bytes] | None = None, **properties: Any
) -> Envelope:
    """The message to publish in place of a delivered one, with its raw body unless ``body`` is given."""
    kept = {**job_properties(message.properties or {}), **properties}
    if body is None:
        raw = message.body or b""
        if isinstance(raw, str):
            raw = raw.encode("utf-8", "surrogatepass")
        kind, encoding = message.content_type or "application/data", message.content_encoding or "binary"
        body = (str(kind), str(encoding), bytes(raw))
    content_type, content_encoding, raw = body
    return Envelope(raw, headers, kept, content_type, content_encoding)


__all__ = ["Envelope", "envelope_of"]
