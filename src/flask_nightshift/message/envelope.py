"""A job's message before it is published: one value for publish, delay, dead letter and replay."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace


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


__all__ = ["Envelope"]
