"""A job's message before it is published: one value for publish, delay, dead letter and replay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encoded message: body, headers and properties, without a destination."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"

    def due_at(self, due: datetime | None) -> Envelope:
        """The same message with ``due`` in its ``eta`` header (None: it may start at once)."""
        if due is None and not self.headers.get("eta"):
            return self
        return replace(self, headers={**self.headers, "eta": due.isoformat() if due is not None else None})


__all__ = ["Envelope"]
