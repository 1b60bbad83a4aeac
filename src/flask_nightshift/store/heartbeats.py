"""Heartbeats: workers and Beats report every few seconds that they are alive.

A worker reports two times: ``seen_at`` comes from the reporting thread, ``loop_at`` from the worker's loop. A process
whose loop is stuck continues to report, but counts as unhealthy.

The rows use the database's clock, and readers get the times converted to their own clock. So a machine with a wrong
clock counts neither as dead nor as alive for ever. SQLite uses the clock of the machine, which all processes share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, DateTime, delete, func, select

from ..domain.job import utcnow
from ..domain.pools import DEFAULT, POOLS
from . import Store, upsert
from . import tables as t

FRESH = timedelta(seconds=15)
"""Maximum age of a worker's heartbeat, and maximum distance into the future if the clock was set back."""
BEAT_FRESH = timedelta(seconds=30)
"""The same for Beat's last tick."""
STOPPED = "stopped"
"""The row of the Beat that last stopped in order: its last tick counts, but it is not alive."""
HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """A worker's report about itself. ``name`` is its Celery node name.

    ``busy`` lists the running jobs, each ``{"job_id", "task", "started_at", "time_limit"}``:
    ``started_at`` in seconds since the epoch, ``time_limit`` the hard limit in seconds or None.
    """

    name: str
    hostname: str
    pid: int
    started_at: datetime
    seen_at: datetime
    loop_at: datetime
    busy: Sequence[Mapping[str, Any]] = ()
    concurrency: int = 1
    pool: str = DEFAULT.name
    queues: Sequence[str] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class WorkerRow(WorkerHeartbeat):
    """A worker as others see it. ``problem`` says why it is unhealthy; it is empty if the worker is healthy."""

    problem: str = ""

    @property
    def healthy(self) -> bool:
        """Whether the worker reports and its loop runs."""
        return not self.problem


_Worker = TypeVar("_Worker", bound=WorkerHeartbeat)


@dataclass(frozen=True, slots=True)
class EntryState:
    """The last run of a schedule entry, or its first sighting; its number of runs; and its schedule at that time.

    ``fingerprint`` is None where an earlier version of Nightshift wrote the row.
    """

    last_run_at: datetime | None
    total_run_count: int = 0
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class BeatState:
    """The state of Beat: when any Beat last checked its schedule (None: never), and the names of live Beats."""

    last_tick: datetime | None
    alive: tuple[str, ...] = ()


def write(store: Store, worker: WorkerHeartbeat) -> None:
    """Write a worker's heartbeat; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        told = _shifted(worker, _ahead(connection))
        values = {item.name: getattr(told, item.name) for item in fields(WorkerHeartbeat)}
        upsert.replace(connection, t.workers, values | {"queues": list(worker.queues)})


def workers(store: Store, now: datetime) -> list[WorkerRow]:
    """All known workers by name, judged at ``now``; raises ``DatabaseUnavailable``."""
    with store.read(timeout=HEARTBEAT_SECONDS) as connection:
        ahead = _ahead(connection)
        found = connection.execute(select(t.workers).order_by(t.workers.c.name)).mappings().all()
    rows = [_shifted(WorkerRow(**values), -ahead) for values in found]
    return [replace(row, problem=problem(row, now)) for row in rows]


def problem(worker: WorkerHeartbeat, now: datetime) -> str:
    """Why ``worker`` is unhealthy at ``now``; empty if it is healthy."""
    if (silent := now - worker.seen_at) > FRESH:
        return f"not heard of for {silent.total_seconds():.0f} s"
    if -silent > FRESH:
        early = -silent.total_seconds()
        return f"last heard of {early:.0f} s in the future: a clock was set back, and nothing came since"
    if (stuck := now - worker.loop_at) > FRESH and not _excused(worker, now):
        return f"its loop has been stuck for {stuck.total_seconds():.0f} s"
    return ""


def forget(store: Store, name: str) -> None:
    """Delete the row of a worker that stops in order; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        connection.execute(delete(t.workers).where(t.workers.c.name == name))


def tick(store: Store, beat_name: str, at: datetime) -> None:
    """Record that Beat ``beat_name`` checked its schedule at ``at``; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        _tick(connection, beat_name, at)


def stop(store: Store, beat_name: str, at: datetime) -> None:
    """Record that Beat ``beat_name`` stopped in order at ``at``; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        connection.execute(delete(t.beats).where(t.beats.c.name == beat_name))
        _tick(connection, STOPPED, at)


def _tick(connection: Connection, name: str, at: datetime) -> None:
    upsert.replace(connection, t.beats, {"name": name, "ticked_at": at + _ahead(connection)})


def beats(store: Store, now: datetime) -> BeatState:
    """The state of Beat at ``now``; raises ``DatabaseUnavailable``."""
    at, name = t.beats.c.ticked_at, t.beats.c.name
    with store.read(timeout=HEARTBEAT_SECONDS) as connection:
        ahead = _ahead(connection)
        latest, oldest = now + ahead + FRESH, now + ahead - BEAT_FRESH
        last = connection.execute(select(func.max(at, type_=at.type)).where(at <= latest)).scalar()
        alive = select(name).where(at <= latest, at >= oldest, name != STOPPED).order_by(name)
        names = tuple(connection.execute(alive).scalars())
    return BeatState(None if last is None else last - ahead, names)


def schedule_state(store: Store) -> dict[str, EntryState]:
    """The stored state of each schedule entry, by name; raises ``DatabaseUnavailable``."""
    with store.read(timeout=HEARTBEAT_SECONDS) as connection:
        rows = connection.execute(select(t.schedules)).all()
    return {row.name: EntryState(row.last_run_at, row.total_run_count, row.fingerprint) for row in rows}


def save_schedule(store: Store, name: str, state: EntryState) -> None:
    """Store the state of a schedule entry; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        upsert.replace(connection, t.schedules, {"name": name, **asdict(state)})


def _ahead(connection: Connection) -> timedelta:
    """How far the database's clock is ahead of ours; a difference below a second may be the time of the reply."""
    if connection.dialect.name == "sqlite":
        return timedelta()
    clock = func.clock_timestamp(type_=DateTime(timezone=True))
    ahead: timedelta = connection.execute(select(clock)).scalar_one() - utcnow()
    return ahead if abs(ahead) >= timedelta(seconds=1) else timedelta()


def _shifted(worker: _Worker, by: timedelta) -> _Worker:
    """``worker`` with all its times shifted by ``by``."""
    busy = [{**job, "started_at": _later(job.get("started_at"), by)} for job in worker.busy]
    times = {name: getattr(worker, name) + by for name in ("started_at", "seen_at", "loop_at")}
    return replace(worker, busy=busy, **times)


def _later(seconds: float | None, by: timedelta) -> float | None:
    return seconds + by.total_seconds() if seconds and by else seconds


def _excused(worker: WorkerHeartbeat, now: datetime) -> bool:
    """Whether a job that blocks the loop is within its time limit, in a pool where jobs block the loop."""
    if not (worker.pool in POOLS and POOLS[worker.pool].blocks_loop):
        return False
    return any(_within_its_time(job, now) for job in worker.busy)


def _within_its_time(job: Mapping[str, Any], now: datetime) -> bool:
    started, limit = job.get("started_at"), job.get("time_limit")
    if not started or not limit:
        return True
    return now.timestamp() <= float(started) + float(limit) + FRESH.total_seconds()


__all__ = [
    "BEAT_FRESH",
    "FRESH",
    "STOPPED",
    "BeatState",
    "EntryState",
    "WorkerHeartbeat",
    "WorkerRow",
    "beats",
    "forget",
    "problem",
    "save_schedule",
    "schedule_state",
    "stop",
    "tick",
    "workers",
    "write",
]
