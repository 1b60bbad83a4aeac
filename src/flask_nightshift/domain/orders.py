"""What operators order for all workers of the cluster, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .tombstones import Tombstone

COMMAND = "nightshift_orders"
"""The name of the remote control command that says that something was ordered."""


@dataclass(frozen=True, slots=True)
class Pause:
    """No job of ``queue`` begins, since ``at``; ``by`` names who ordered it, ``reason`` says why."""

    queue: str
    at: datetime
    by: str
    reason: str | None = None

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"paused since {self.at:%Y-%m-%d %H:%M:%S} UTC by {self.by}{why}"

    def as_dict(self) -> dict[str, Any]:
        """The pause in plain JSON types."""
        return {"queue": self.queue, "at": self.at.isoformat(), "by": self.by, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What is ordered now. ``number`` is that of the last order; ``pauses`` has all paused queues, by name.

    ``tombstones`` has only those that were placed after the order that the reader knew.
    """

    number: int
    pauses: Mapping[str, Pause]
    tombstones: Sequence[Tombstone] = ()


__all__ = ["COMMAND", "Ordered", "Pause"]
