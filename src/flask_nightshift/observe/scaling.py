"""How many workers queues need, for an autoscaler: as many as keep the wait of each job below a target.

A worker has ``places``: jobs that it runs at a time. The jobs of a queue keep ``rate * runtime`` places busy now, and
those that wait need ``ready * runtime / target`` more, to be gone within the target. If jobs arrive faster than workers
end them, more of them wait each time, and the wish grows until they go as fast as they come.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from .. import journal
from ..domain.job import utcnow
from ..errors import QueueNotFound
from ..journal import TotalsRow
from ..services import Services
from . import bounded_calls, queues, unheard
from .queues import QueueRow

SECONDS = 2.0
"""The time limit in seconds for an answer."""


@dataclass(frozen=True, slots=True)
class Need:
    """A queue, the mean runtime of its jobs in seconds (None: none ended yet), and how many places it needs."""

    row: QueueRow
    runtime: float | None
    places: float

    def as_dict(self) -> dict[str, Any]:
        """The need in plain JSON types."""
        runtime = None if self.runtime is None else round(self.runtime, 6)
        return self.row.as_dict() | {"runtime_seconds": runtime, "wished_places": round(self.places, 3)}


@dataclass(frozen=True, slots=True)
class Scale:
    """The wish for workers that consume all of these queues, for a wait of ``target`` seconds.

    ``places``: the jobs that a worker runs at a time. ``problems``: what could not be asked; then there is no wish,
    because a guess would start or stop workers.
    """

    at: datetime
    target: float
    places: float
    needs: list[Need] = field(default_factory=list)
    problems: tuple[str, ...] = ()

    @property
    def wished(self) -> int | None:
        """The number of workers; at least one while a job waits, runs, or is delayed."""
        if self.problems:
            return None
        wanted = math.ceil(round(sum(need.places for need in self.needs) / self.places, 6))
        return max(wanted, int(any(needs_one(need.row) for need in self.needs)))

    def as_dict(self) -> dict[str, Any]:
        """The wish in plain JSON types; ages and times are those of the slowest queue."""
        rows = [need.row for need in self.needs]
        stuck = any(row.time_to_empty is None for row in rows)
        return {
            "at": self.at.isoformat(),
            "target_seconds": self.target,
            "wished_workers": self.wished,
            "places_per_worker": self.places,
            "ready": sum(row.ready or 0 for row in rows),
            "oldest_seconds": _most(row.oldest for row in rows),
            "rate_per_second": round(sum(row.rate or 0.0 for row in rows), 6),
            "time_to_empty_seconds": None if stuck else _most(row.time_to_empty for row in rows),
            "queues": [need.as_dict() for need in self.needs],
            "problems": list(self.problems),
        }


def scale(
    services: Services, names: Collection[str] = (), *, target: float, places: float | None = None
) -> Scale:
    """The wish for the queues ``names`` (default: all that are known) and a wait of ``target`` seconds; never hangs.

    ``places``: the jobs that a worker runs at a time, by default the mean of those that consume these queues. Raises
    ``QueueNotFound``.
    """
    now, store = utcnow(), services.store
    seen = queues.seen(services, names or None, timeout=SECONDS)
    questions = {
        "scale-recent": partial(journal.recent_totals, store, now - queues.WINDOW),
        "scale-ever": partial(journal.totals, store),
    }
    found = bounded_calls.of(services).gather(questions, timeout=SECONDS)
    problems = dict.fromkeys((*seen.problems, *(answer.error for answer in found.values() if answer.error)))
    if problems:
        return Scale(now, target, places or 1.0, problems=tuple(problems))
    recent, ever = (answer.value for answer in found.values())
    if names:
        _check(services, seen.rows, {row.queue for row in ever})
    needs = [need(row, recent, ever, target) for row in seen.rows]
    return Scale(now, target, places or places_of(seen.rows), needs)


def need(row: QueueRow, recent: Iterable[TotalsRow], ever: Iterable[TotalsRow], target: float) -> Need:
    """What the queue of ``row`` needs; the runtime is that of late, or of all time if no job ended of late."""
    runtime = runtime_of(row.queue, recent)
    runtime = runtime_of(row.queue, ever) if runtime is None else runtime
    waiting = 0 if row.pause else row.ready or 0  # a paused queue needs no worker before it is resumed
    return Need(row, runtime, (runtime or 0.0) * ((row.rate or 0.0) + waiting / target))


def runtime_of(queue: str, totals: Iterable[TotalsRow]) -> float | None:
    """The mean runtime of the attempts of ``queue`` in seconds; None if none was measured."""
    rows = [row for row in totals if row.queue == queue]
    measured = sum(sum(row.runtime_buckets) for row in rows)
    return sum(row.runtime_sum for row in rows) / measured if measured else None


def places_of(rows: Iterable[QueueRow]) -> float:
    """The mean number of places of a worker that consumes one of these queues; 1 without a worker."""
    known = [row for row in rows if row.workers]
    workers = sum(row.workers or 0 for row in known)
    return sum(row.places or 0 for row in known) / workers if workers else 1.0


def needs_one(row: QueueRow) -> bool:
    """Whether a worker has to be there: for the jobs that wait or run, and to see when a delayed one is due."""
    held = row.running if row.leased is None else row.leased
    return bool((row.ready and not row.pause) or held or row.delayed)


def _check(services: Services, rows: Iterable[QueueRow], used: Collection[str]) -> None:
    """Raise ``QueueNotFound`` for a queue that nothing knows: a misspelt name would stop all its workers."""
    known = {*services.queues(), *used}
    for row in rows:
        if row.queue not in known and not (
            row.ready or row.leased or row.delayed or row.workers or row.pause
        ):
            raise QueueNotFound(
                f"no job was ever in the queue {row.queue!r}, and neither a task, the configuration nor a worker "
                f"names it.{unheard.near(row.queue, known)}"
            )


def _most(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(max(known), 3) if known else None


__all__ = ["Need", "Scale", "need", "needs_one", "places_of", "runtime_of", "scale"]
