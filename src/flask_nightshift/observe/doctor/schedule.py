"""Check what operators ordered for the schedule."""

from __future__ import annotations

from collections.abc import Iterator

from ...brokers.values import Finding
from ...errors import ConfigurationError
from ...schedule import entries
from ...store import schedules
from ...store.types import key_of
from ..bounded_calls import Answer
from .check import Seen, asks
from .database import database


@asks(lambda services: schedules.read(services.store), needs=database)
def paused_entries(seen: Seen, rows: Answer) -> Iterator[Finding]:
    """Entries that are paused: somebody may have forgotten them."""
    if not rows.ok:
        return
    for name in _declared(seen):
        row = rows.value.get(key_of(name))
        if row is not None and row.paused_at is not None:
            message = f"entry {name!r} is paused since {row.paused_at:%Y-%m-%d %H:%M:%S} UTC"
            yield Finding(
                "info", "schedule", message, f"`flask jobs schedule resume {name}` lets it run again."
            )


def _declared(seen: Seen) -> list[str]:
    try:
        return sorted(entries.entries(seen.services))
    except ConfigurationError:
        return []  # another check names the wrong entry


__all__ = ["paused_entries"]
