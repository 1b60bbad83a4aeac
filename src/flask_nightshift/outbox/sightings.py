"""Which rows a relay may take: those that it has seen twice, some seconds apart.

A row's time says nothing about its commit, and the process that committed it publishes it a moment later. So a relay
takes a row only if it was there some seconds ago. The same rule ends the claim of a relay that died: its rows are seen
with the same publish number for longer. No clock of another machine is involved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

WAIT = 5.0
"""Seconds from the first sighting of a row until a relay may take it."""
CLAIM_WAIT = 30.0
"""Seconds from the first sighting of a claim until it counts as abandoned."""


class Sighting(NamedTuple):
    """A row as a look found it: its id, the number of its last publish, and whether a relay has claimed it."""

    row_id: str
    copy: int
    claimed: bool


class Sightings:
    """What one relay has seen of one outbox, the oldest row first. ``now`` is monotonic time in seconds."""

    def __init__(self) -> None:
        self._first: dict[Sighting, float] = {}

    def __len__(self) -> int:
        return len(self._first)

    def look(self, found: Iterable[Sighting], now: float) -> None:
        """Note what is there now; forget what is not."""
        self._first = {each: self._first.get(each, now) for each in found}

    def take(self, now: float, most: int) -> list[Sighting]:
        """Up to ``most`` rows that may be taken, and are forgotten here."""
        taken: list[Sighting] = []
        for each, first in self._first.items():
            if len(taken) == most:
                break
            if now - first >= (CLAIM_WAIT if each.claimed else WAIT):
                taken.append(each)
        for each in taken:
            del self._first[each]
        return taken


__all__ = ["CLAIM_WAIT", "WAIT", "Sighting", "Sightings"]
