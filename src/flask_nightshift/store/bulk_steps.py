"""The step of a bulk action that a worker has begun and not noted yet, as a value in the action's row.

It is written before the step acts on anything, so a worker that takes the portion over knows which jobs may be done
already, and counts each of them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple


class Position(NamedTuple):
    """A place in the set of an action, by time and id; a time that is not known (None) comes last."""

    at: datetime | None
    id: str


class Step(NamedTuple):
    """A step on the jobs ``ids``, after which the action has ``reached`` that place (None: it does not move on).

    ``skipped``: the reasons for which others of the same part are left out, each with their number.
    """

    ids: Sequence[str]
    reached: Position | None
    skipped: Mapping[str, int]


def written(step: Step, met: int) -> dict[str, Any]:
    """``step`` in plain JSON types, begun when the action had met ``met`` jobs."""
    at, place = (step.reached.at, step.reached.id) if step.reached else (None, None)
    return {
        "met": met,
        "ids": list(step.ids),
        "reached": [at.isoformat() if at else None, place] if place else None,
        "skipped": dict(step.skipped),
    }


def read(found: Any, met: int) -> Step | None:
    """The step that ``written`` wrote; None without one, or if the action has met others since then.

    A version that does not know of steps leaves one behind when it goes on.
    """
    if not isinstance(found, dict) or found.get("met") != met:
        return None
    place = found["reached"]
    at = datetime.fromisoformat(place[0]) if place and place[0] else None
    return Step(tuple(found["ids"]), Position(at, place[1]) if place else None, found["skipped"])


__all__ = ["Position", "Step", "read", "written"]
