"""What the first page shows: is it well, queues, workers, how it went, and what dies now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from .. import dead_letters, journal
from ..domain.job import Outcome, utcnow
from ..errors import ConfigurationError
from ..outbox.claims import Backlog, backlog_of
from ..schedule import entries
from ..services import Services
from ..store import epochs, heartbeats
from . import bounded_calls, health, queues, trends
from .health import WIPE_TOLD
from .trends import Period, Trend
from .verdict import Signs, Verdict, verdict

SECONDS = 2.0
"""The time limit in seconds for all parts together."""
PARTS = ("broker", "database", "beat")
"""The parts of ``health`` that count; workers and queues are seen closer here."""
MINUTES = 5
"""How far back the verdict looks for deaths."""
FRESH = 1.0
"""Seconds for which an answer is used again, for all who look at the page."""


@dataclass(frozen=True, slots=True)
class Front:
    """The state at ``at``. None: it could not be asked, and the verdict says why.

    ``counts``: the attempts of the last ``MINUTES``, by outcome. ``dead_letters``: the number of letters that wait for
    a decision. ``beats``: the names of live Beats.
    """

    at: datetime
    verdict: Verdict
    queues: list[queues.QueueRow]
    workers: list[heartbeats.WorkerRow] | None
    beats: tuple[str, ...] | None
    counts: dict[str, int] | None
    dead_letters: int | None
    trend: Trend | None


class _History(NamedTuple):
    """What the database knows, in the order in which it is asked."""

    workers: list[heartbeats.WorkerRow]
    beats: heartbeats.BeatState
    recent: list[journal.TotalsRow]
    used: bool
    letters: int
    wiped_at: datetime | None


def front(services: Services, period: Period = Period.HOUR, *, timeout: float = SECONDS) -> Front:
    """Ask the broker and the database for all at once, within ``timeout`` seconds; never raises."""
    now = utcnow()
    questions: dict[str, Callable[[], Any]] = {
        "front-history": lambda: _ask_history(services, now),
        "front-outbox": lambda: backlog_of(services.outboxes),
        "front-queues": lambda: queues.seen(services, timeout=timeout).rows,
        "front-health": lambda: health.check(services, PARTS, timeout=timeout).parts,
    }
    found = bounded_calls.of(services).gather(questions, timeout=timeout, max_age=FRESH)
    history, outbox, rows, parts = (each.value for each in found.values())
    trend = trends.kept(services, period, timeout=timeout)
    return Front(
        at=now,
        verdict=verdict(_signs(services, history, outbox, rows or [], parts or {}, now)),
        queues=rows or [],
        workers=history and history.workers,
        beats=history and history.beats.alive,
        counts=history and _counts(history.recent, lambda row: str(row.outcome)),
        dead_letters=history.letters if history else None,
        trend=trend.value,
    )


def _ask_history(services: Services, now: datetime) -> _History:
    store = services.store
    return _History(
        heartbeats.workers(store, now),
        heartbeats.beats(store, now),
        journal.recent_totals(store, (now - timedelta(minutes=MINUTES)).replace(second=0, microsecond=0)),
        journal.any_ended(store),
        dead_letters.count(store),
        epochs.wiped_at(store, [services.broker.url]),
    )


def _signs(
    services: Services,
    history: _History | None,
    outbox: Backlog | None,
    rows: list[queues.QueueRow],
    parts: dict[str, health.Check],
    now: datetime,
) -> Signs:
    recent = history.recent if history else []
    dying = _counts([row for row in recent if row.outcome is Outcome.DEAD], lambda row: row.task)
    wiped = history.wiped_at if history else None
    return Signs(
        parts=parts,
        queues=rows,
        workers=history.workers if history else None,
        counts=_counts(recent, lambda row: str(row.outcome)),
        minutes=MINUTES,
        dying=max(dying, key=lambda task: dying[task], default=""),
        outbox=outbox,
        wiped_at=wiped if wiped is not None and now - wiped < WIPE_TOLD else None,
        scheduled=_scheduled(services),
        used=history.used if history else True,
    )


def _scheduled(services: Services) -> int:
    """The number of the app's entries of the schedule, without ours."""
    try:
        return len({*entries.entries(services)} - {entries.PRUNE})
    except ConfigurationError:
        return 0


def _counts(rows: Any, label: Callable[[Any], str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[label(row)] += row.count
    return dict(counts)


__all__ = ["MINUTES", "Front", "front"]
