"""The one read model: what stands in the queues, who works, what was done.

``flask jobs stats``, ``/metrics``, ``/health/ready`` and the dashboard read it and nothing else. Each part
comes from one source and fails alone: with the broker down the history still shows, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import dead_letters, journal, probe
from .brokers.base import QueueDepth
from .job import Outcome, utcnow
from .message import DEAD_QUEUE
from .probe import Reading
from .runtime import Runtime
from .store import heartbeats

TIMEOUT = 3.0
"""Seconds that all parts together may take."""
FRESH = 15.0
"""Seconds since its last sign of life after which a worker counts as gone, or its loop as stuck."""
WINDOW = timedelta(minutes=5)
"""What ``throughput`` speaks of."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as it reported itself. ``trouble`` says why it is not healthy, '' if it is."""

    name: str
    hostname: str
    pid: int
    pool: str
    concurrency: int
    queues: tuple[str, ...]
    version: str
    running: int
    started_at: datetime
    seen_at: datetime
    trouble: str

    @property
    def healthy(self) -> bool:
        """Whether it was seen lately and its loop turns."""
        return not self.trouble

    @classmethod
    def of(cls, row: heartbeats.WorkerRow, now: datetime) -> WorkerView:
        """The view of a heartbeat row at ``now``."""
        return cls(
            name=row.name,
            hostname=row.hostname,
            pid=row.pid,
            pool=row.pool,
            concurrency=row.concurrency,
            queues=tuple(row.queues),
            version=row.version,
            running=len(row.busy),
            started_at=row.started_at,
            seen_at=row.seen_at,
            trouble=_trouble(row, now),
        )


@dataclass(frozen=True, slots=True)
class Throughput:
    """Ended attempts of the last minutes, per minute, by outcome."""

    minutes: float
    per_minute: dict[str, float]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at ``at``; each part is a ``Reading`` whose ``value`` is described beside it.

    ``queues``: list of ``QueueDepth``. ``dead_pending``: letters still in the broker's dead-letter queue.
    ``dead_letters``: archived letters that wait for a decision. ``workers``: list of ``WorkerView``.
    ``beat``: the last tick's ``datetime`` or None. ``totals``: list of ``journal.TotalsRow``.
    ``throughput``: a ``Throughput``.
    """

    at: datetime
    queues: Reading
    dead_pending: Reading
    dead_letters: Reading
    workers: Reading
    beat: Reading
    totals: Reading
    throughput: Reading

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; a part that is unavailable is ``{"unavailable": reason}``."""
        return {
            "at": self.at.isoformat(),
            "queues": _part(self.queues, lambda rows: [_depth(row) for row in rows]),
            "dead_letters": {
                "waiting": _part(self.dead_letters, int),
                "unarchived": _part(self.dead_pending, int),
            },
            "workers": _part(self.workers, lambda views: [_worker(view) for view in views]),
            "beat": _part(self.beat, lambda tick: {"last_tick": tick.isoformat() if tick else None}),
            "totals": _part(self.totals, lambda rows: [_total(row) for row in rows]),
            "throughput": _part(
                self.throughput, lambda t: {"minutes": t.minutes, "per_minute": t.per_minute}
            ),
        }


def overview(runtime: Runtime, *, timeout: float = TIMEOUT) -> Overview:
    """Ask broker and database, all parts at once, ``timeout`` seconds at most; never raises."""
    now = utcnow()
    store, broker = runtime.store, runtime.broker
    questions: dict[str, Callable[[], Any]] = {
        "queues": lambda: broker.depths(runtime.queues()),
        "dead_pending": lambda: _sum(broker.depths([DEAD_QUEUE])),
        "dead_letters": lambda: dead_letters.count(store),
        "workers": lambda: [WorkerView.of(row, now) for row in heartbeats.workers(store, now)],
        "beat": lambda: heartbeats.last_tick(store),
        "totals": lambda: journal.totals(store),
        "throughput": lambda: _throughput(journal.recent_totals(store, now - WINDOW)),
    }
    return Overview(at=now, **probe.of(runtime.app).gather(questions, timeout=timeout))


def _trouble(row: heartbeats.WorkerRow, now: datetime) -> str:
    unseen, stuck = (now - row.seen_at).total_seconds(), (now - row.loop_at).total_seconds()
    if unseen > FRESH:
        return f"not seen for {unseen:.0f} s"
    if stuck > FRESH and not (row.pool == "solo" and _within_limit(row.busy, now)):
        return f"stuck: its loop has not turned for {stuck:.0f} s"
    return ""


def _within_limit(busy: Iterable[dict[str, Any]], now: datetime) -> bool:
    """Whether a job runs that has not passed its time limit: in the solo pool it blocks the loop."""
    for job in busy:
        started, limit = job.get("started_at"), job.get("time_limit")
        if not limit or not started or now.timestamp() - started < limit + FRESH:
            return True
    return False


def _sum(depths: Iterable[QueueDepth]) -> int:
    return sum(depth.ready + (depth.leased or 0) for depth in depths)


def _throughput(rows: Iterable[journal.TotalsRow]) -> Throughput:
    minutes = WINDOW.total_seconds() / 60
    counts = {str(outcome): 0 for outcome in Outcome}
    for row in rows:
        counts[str(row.outcome)] += row.count
    return Throughput(minutes, {outcome: round(count / minutes, 2) for outcome, count in counts.items()})


def _part(reading: Reading, shape: Callable[[Any], Any]) -> Any:
    return shape(reading.value) if reading.ok else {"unavailable": reading.error}


def _depth(row: QueueDepth) -> dict[str, Any]:
    return {
        "queue": row.queue,
        "ready": row.ready,
        "delayed": row.delayed,
        "leased": row.leased,
        "oldest_seconds": row.oldest,
    }


def _worker(view: WorkerView) -> dict[str, Any]:
    return {
        "name": view.name,
        "hostname": view.hostname,
        "pid": view.pid,
        "healthy": view.healthy,
        "trouble": view.trouble or None,
        "pool": view.pool,
        "concurrency": view.concurrency,
        "running": view.running,
        "queues": list(view.queues),
        "version": view.version,
        "started_at": view.started_at.isoformat(),
        "seen_at": view.seen_at.isoformat(),
    }


def _total(row: journal.TotalsRow) -> dict[str, Any]:
    return {
        "task": row.task,
        "queue": row.queue,
        "outcome": str(row.outcome),
        "count": row.count,
        "runtime_seconds": round(row.runtime_sum, 3),
        "wait_seconds": round(row.wait_sum, 3),
    }


__all__ = ["Overview", "Throughput", "WorkerView", "overview"]
