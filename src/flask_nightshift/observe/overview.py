"""The read model: queues, workers, Beat, dead letters and totals at one moment.

``flask jobs stats``, ``flask jobs doctor`` and ``/metrics`` read it. Each part comes from one source and fails alone:
while the broker is down the history is still available, and vice versa.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from .. import dead_letters, journal
from ..brokers.values import QueueDepth
from ..domain.job import Outcome, utcnow
from ..message.burial import DEAD_QUEUE
from ..outbox import claims
from ..services import Services
from ..store import Store, heartbeats, lost_records
from . import bounded_calls, pauses, unheard, workers
from .bounded_calls import Answer

OVERVIEW_SECONDS = 3.0
"""The time limit in seconds for all parts together."""
MINUTE = timedelta(minutes=1)
WINDOW = timedelta(minutes=5)
"""The period of ``throughput``."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Ended attempts of the last ``minutes``, by outcome."""

    minutes: float
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Overview:
    """The state at ``at``; each part is an ``Answer`` with one of these values.

    ``queues``: list of ``QueueDepth``. ``paused``: the ``Pause`` of each paused queue, by name. ``delayed``: the number
    of delayed jobs in all queues, None if the broker cannot tell. ``dead_pending``: the number of letters in the
    broker's dead-letter queue. ``dead_letters``: the number of archived letters that wait for a decision. ``workers``:
    list of ``heartbeats.WorkerRow``. ``beat``: a ``heartbeats.BeatState``. ``totals``: list of ``journal.TotalsRow``.
    ``throughput``: a ``Throughput``. ``outbox``: a ``claims.Backlog`` of all outboxes. ``lost_records``: the number of
    records that the history has lost.
    """

    at: datetime
    queues: Answer
    paused: Answer
    delayed: Answer
    dead_pending: Answer
    dead_letters: Answer
    workers: Answer
    beat: Answer
    totals: Answer
    throughput: Answer
    outbox: Answer
    lost_records: Answer

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; a part that is unavailable is ``{"unavailable": reason}``."""
        return {
            "at": self.at.isoformat(),
            "queues": _part(self.queues, lambda rows: [_depth(row) for row in rows]),
            "paused": _part(self.paused, lambda found: [pause.as_dict() for pause in found.values()]),
            "delayed": _part(self.delayed, lambda count: count),
            "dead_letters": {
                "waiting": _part(self.dead_letters, int),
                "unarchived": _part(self.dead_pending, int),
            },
            "workers": _part(self.workers, lambda rows: [workers.as_dict(row) for row in rows]),
            "beat": _part(self.beat, _beat),
            "totals": _part(self.totals, lambda rows: [_total(row) for row in rows]),
            "outbox": _part(self.outbox, lambda waiting: {"rows": waiting.rows, "oldest": waiting.oldest}),
            "throughput": _part(self.throughput, lambda t: {"minutes": t.minutes, "counts": t.counts}),
        }


def overview(services: Services, *, timeout: float = OVERVIEW_SECONDS) -> Overview:
    """Query the broker and the database for all parts at once, within ``timeout`` seconds; never raises."""
    now = utcnow()
    store, broker = services.store, services.broker
    questions: dict[str, Callable[[], Any]] = {
        "queues": lambda: broker.depths(services.queues()),
        "unheard": lambda: broker.depths(unheard.queues(services)),
        "paused": lambda: pauses.seen(services),
        "of_paused": lambda: broker.depths(pauses.seen(services).keys() - {*services.queues()}),
        "delayed": lambda: _delayed(services),
        "dead_pending": lambda: _sum(broker.depths([DEAD_QUEUE])),
        "dead_letters": lambda: dead_letters.count(store),
        "workers": lambda: workers.seen(services, now),
        "beat": lambda: heartbeats.beats(store, now),
        "totals": lambda: journal.totals(store),
        "throughput": lambda: _throughput(store, now),
        "outbox": lambda: claims.backlog_of(services.outboxes),
        "lost_records": lambda: lost_records.total(store),
    }
    found = bounded_calls.of(services).gather(questions, timeout=timeout)
    for name in (
        "unheard",
        "of_paused",
    ):  # they need the history or the orders, and ``queues`` must work without
        others = found.pop(name)
        if others.ok and found["queues"].ok:
            found["queues"] = replace(found["queues"], value=_joined(found["queues"].value, others.value))
    return Overview(at=now, **found)


def _joined(depths: list[QueueDepth], others: list[QueueDepth]) -> list[QueueDepth]:
    known = {depth.queue for depth in depths}
    return [*depths, *(depth for depth in others if depth.queue not in known)]


def _delayed(services: Services) -> int | None:
    """The number of delayed jobs: the sum over the queues if the broker can tell, else its total."""
    each = [depth.delayed for depth in services.broker.depths(services.queues())]
    known = [count for count in each if count is not None]
    return sum(known) if len(known) == len(each) else services.broker.delayed()


def _sum(depths: Iterable[QueueDepth]) -> int:
    return sum(depth.ready + (depth.leased or 0) for depth in depths)


def _throughput(store: Store, now: datetime) -> Throughput:
    """The attempts that ended within ``WINDOW``; its first minute counts in part, because totals are per minute."""
    begin = now - WINDOW
    minute = begin.replace(second=0, microsecond=0)
    inside = _counts(journal.recent_totals(store, minute + MINUTE))
    share = (minute + MINUTE - begin) / MINUTE
    partly = {
        key: count - inside[key] for key, count in _counts(journal.recent_totals(store, minute)).items()
    }
    counts = {key: count + round(partly[key] * share) for key, count in inside.items()}
    return Throughput(WINDOW / MINUTE, counts)


def _counts(rows: Iterable[journal.TotalsRow]) -> dict[str, int]:
    counts = {str(outcome): 0 for outcome in Outcome}
    for row in rows:
        counts[str(row.outcome)] += row.count
    return counts


def _part(answer: Answer, shape: Callable[[Any], Any]) -> Any:
    return shape(answer.value) if answer.ok else {"unavailable": answer.error}


def _depth(row: QueueDepth) -> dict[str, Any]:
    return {
        "queue": row.queue,
        "ready": row.ready,
        "delayed": row.delayed,
        "leased": row.leased,
        "oldest_seconds": row.oldest,
    }


def _beat(state: heartbeats.BeatState) -> dict[str, Any]:
    return {"last_tick": state.last_tick.isoformat() if state.last_tick else None, "alive": list(state.alive)}


def _total(row: journal.TotalsRow) -> dict[str, Any]:
    return {
        "task": row.task,
        "queue": row.queue,
        "outcome": str(row.outcome),
        "count": row.count,
        "runtime_seconds": round(row.runtime_sum, 3),
        "wait_seconds": round(row.wait_sum, 3),
    }


__all__ = ["Overview", "Throughput", "overview"]
