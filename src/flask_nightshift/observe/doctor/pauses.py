"""Check the pauses of queues: forgotten ones, and workers that do not keep to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ...brokers.values import Finding
from .check import Seen, looks, some

LONG = timedelta(days=1)
"""The age of a pause that may have been forgotten."""


@looks
def paused(seen: Seen) -> Iterator[Finding]:
    """The paused queues."""
    if not seen.overview.paused.ok:
        text = f"which queues are paused is not known: {seen.overview.paused.error}"
        yield Finding("warning", "pauses", text, "Run the doctor again when broker and database answer.")
        return
    for name, pause in seen.overview.paused.value.items():
        level = "warning" if seen.overview.at - pause.at > LONG else "info"
        yield Finding(level, "pauses", f"{name!r} is {pause}", f"End it: `flask jobs resume {name}`.")


@looks
def unheeded(seen: Seen) -> Iterator[Finding]:
    """Workers of a version that knows no pauses."""
    ignorant = [f"{row.name} ({row.version})" for row in seen.workers if row.heard is None]
    if ignorant:
        message = f"these workers are of a version that ignores `flask jobs pause`: {some(ignorant)}"
        paused_now = seen.overview.paused.ok and seen.overview.paused.value
        level = "error" if paused_now else "warning"
        yield Finding(level, "pauses", message, "Replace them with workers of this version.")


__all__ = ["paused", "unheeded"]
