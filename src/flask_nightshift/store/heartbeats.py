"""Heartbeats: workers and Beats report every few seconds that they are alive.

A worker reports two times: ``seen_at`` comes from the reporting thread, ``loop_at`` from the worker's loop. A process
whose loop is stuck continues to report, but counts as unhealthy.

The rows use the database's clock, and readers get the times converted to their own clock. So a machine with a wrong
clock counts neither as dead nor as alive for ever. SQLite uses the clock of the machine, which all processes share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, DateTime, delete, func, select

from ..domain.job import utcnow
from ..domain.pools import DEFAULT, POOLS
from ..text.spans import span
from . import Store, upsert
from . import tables as t

FRESH = timedelta(seconds=15)
"""Maximum age of a worker's heartbeat, and maximum distance into the future if the clock was set back."""
BEAT_FRESH = timedelta(seconds=30)
"""The same for Beat's last tick."""
STOPPED = "stopped"
"""The row of the Beat that last stopped in order: its last tick counts, but it is not alive."""
HEARTBEAT_SECONDS = 5.0
MOST_NAMES = 65_536
"""Maximum bytes of the names of a worker's tasks."""
_STUCK = "its loop has been stuck"
GONE = timedelta(hours=1)
"""The silence after which a worker is forgotten when another one starts: each container has a new name."""


@dataclass(frozen=True, slots=True)
class KnownTasks:
    """The names of the tasks that a worker knows; those beyond ``MOST_NAMES`` bytes are left out."""

    names: frozenset[str]
    complete: bool = True

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """As many of ``names`` as fit, in their order."""
        kept: list[str] = []
        size, every = 0, sorted(names)
        for name in every:
            size += len(name.encode("utf-8", "replace")) + 4
            if size > MOST_NAMES:
                break
            kept.append(name)
        return cls(frozenset(kept), len(kept) == len(every))

    def lacks(self, task: str) -> bool:
        """Whether the worker certainly does not know ``task``."""
        return self.complete and task not in self.names


@dataclass(frozen=True, slots=True)
class WorkerHeartbeat:
    """A worker's report about itself. ``name`` is its Celery node name.

    ``busy`` lists the running jobs, each ``{"job_id", "task", "started_at", "time_limit"}``:
    ``started_at`` in seconds since the epoch, ``time_limit`` the hard limit in seconds or None. ``version`` is that of
    Flask-Nightshift, ``app_version`` that of the app (``NIGHTSHIFT_VERSION``). ``memory`` is in bytes, with the child
    processes; None where the system does not tell. ``heard``: the number of the last order that the worker knows, 0 if
    it knows none; None for a version that ignores orders. ``in_hand``: how many jobs of each queue it holds, running or
    not; None for a version that does not tell. ``tasks`` are the names of the tasks that it knows; None
    leaves what an earlier heartbeat said, and readers get them from ``known_tasks`` only.
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
    app_version: str | None = None
    memory: int | None = None
    heard: int | None = None
    in_hand: Mapping[str, int] | None = None
    tasks: KnownTasks | None = None


@dataclass(frozen=True, slots=True)
class WorkerRow(WorkerHeartbeat):
    """A worker as others see it. ``problem`` says why it is unhealthy; it is empty if the worker is healthy."""

    problem: str = ""

    @property
    def alive(self) -> bool:
        """Whether the worker reports, also if its loop is stuck."""
        return not self.problem or self.problem.startswith(_STUCK)

    @property
    def healthy(self) -> bool:
        """Whether the worker reports and its loop runs."""
        return not self.problem


_Worker = TypeVar("_Worker", bound=WorkerHeartbeat)
_TOLD = tuple(column for column in t.workers.columns if column.name != "tasks")  # tasks are long


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
        tasks = values.pop("tasks")
        if tasks is not None:
            values["tasks"] = {"names": sorted(tasks.names), "complete": tasks.complete}
        upsert.replace(connection, t.workers, values | {"queues": list(worker.queues)})


def workers(store: Store, now: datetime) -> list[WorkerRow]:
    """All known workers by name, judged at ``now``; raises ``DatabaseUnavailable``."""
    with store.read(timeout=HEARTBEAT_SECONDS) as connection:
        ahead = _ahead(connection)
        found = connection.execute(select(*_TOLD).order_by(t.workers.c.name)).mappings().all()
    rows = [_shifted(WorkerRow(**values), -ahead) for values in found]
    return [replace(row, problem=problem(row, now)) for row in rows]


def known_tasks(store: Store, names: Collection[str]) -> dict[str, KnownTasks]:
    """The tasks that the workers ``names`` know, for those that tell them; raises ``DatabaseUnavailable``."""
    query = select(t.workers.c.name, t.workers.c.tasks).where(t.workers.c.name.in_(sorted(names)))
    with store.read(timeout=HEARTBEAT_SECONDS) as connection:
        rows = connection.execute(query.where(t.workers.c.tasks.is_not(None))).all()
    return {row.name: KnownTasks(frozenset(row.tasks["names"]), bool(row.tasks["complete"])) for row in rows}


def problem(worker: WorkerHeartbeat, now: datetime) -> str:
    """Why ``worker`` is unhealthy at ``now``; empty if it is healthy."""
    if (silent := now - worker.seen_at) > FRESH:
        return f"not heard of for {span(silent)}"
    if -silent > FRESH:
        return f"last heard of {span(-silent)} in the future: a clock was set back, and nothing came since"
    if (stuck := now - worker.loop_at) > FRESH and not _excused(worker, now):
        return f"{_STUCK} for {span(stuck)}"
    return ""


def forget(store: Store, name: str) -> None:
    """Delete the row of a worker that stops in order; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        connection.execute(delete(t.workers).where(t.workers.c.name == name))


def forget_gone(store: Store) -> int:
    """Delete the rows of workers that have been silent for longer than ``GONE``; returns their number.

    Raises ``DatabaseUnavailable``.
    """
    with store.begin(timeout=HEARTBEAT_SECONDS) as connection:
        before = utcnow() + _ahead(connection) - GONE
        return connection.execute(delete(t.workers).where(t.workers.c.seen_at < before)).rowcount


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
    "GONE",
    "STOPPED",
    "BeatState",
    "KnownTasks",
    "WorkerHeartbeat",
    "WorkerRow",
    "beats",
    "forget",
    "forget_gone",
    "known_tasks",
    "problem",
    "stop",
    "tick",
    "workers",
    "write",
]
