"""Who is alive: workers and beats say so themselves, every few seconds.

A worker tells two times. ``seen_at`` comes from the thread that reports, ``loop_at`` from the worker's own
loop: a process whose loop is stuck goes on reporting and is unhealthy all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select

from . import Store, upsert
from . import tables as t

FRESH = timedelta(seconds=15)
"""How old a sign of life may be."""
TIMEOUT = 5.0
_BLOCKING_POOLS = ("solo",)


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """What a worker says of itself. ``name`` is its Celery node name.

    ``busy`` are the jobs that run now, each ``{"job_id", "task", "started_at", "time_limit"}``:
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
    pool: str = "prefork"
    queues: Sequence[str] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class WorkerRow(WorkerBeat):
    """A worker as others see it. ``problem`` says why it is not healthy, and is empty if it is."""

    problem: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it reports and its loop turns."""
        return not self.problem


def beat(store: Store, worker: WorkerBeat) -> None:
    """Write a worker's sign of life; raises ``DatabaseUnavailable``."""
    values = {item.name: getattr(worker, item.name) for item in fields(WorkerBeat)}
    values |= {"busy": [dict(job) for job in worker.busy], "queues": list(worker.queues)}
    with store.begin(timeout=TIMEOUT) as connection:
        upsert.replace(connection, t.workers, values)


def workers(store: Store, now: datetime) -> list[WorkerRow]:
    """All workers heard of and not forgotten, by name, judged at ``now``; raises ``DatabaseUnavailable``."""
    with store.read(timeout=TIMEOUT) as connection:
        found = connection.execute(select(t.workers).order_by(t.workers.c.name)).mappings().all()
    rows = [WorkerRow(**values) for values in found]
    return [replace(row, problem=problem(row, now)) for row in rows]


def problem(worker: WorkerBeat, now: datetime) -> str:
    """Why ``worker`` is not healthy at ``now``; empty if it is."""
    if (silent := now - worker.seen_at) > FRESH:
        return f"not heard of for {silent.total_seconds():.0f} s"
    if (stuck := now - worker.loop_at) > FRESH and not _excused(worker, now):
        return f"its loop has been stuck for {stuck.total_seconds():.0f} s"
    return ""


def forget(store: Store, name: str) -> None:
    """A worker that stops in good order takes its row with it; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=TIMEOUT) as connection:
        connection.execute(delete(t.workers).where(t.workers.c.name == name))


def tick(store: Store, beat_name: str, at: datetime) -> None:
    """The beat ``beat_name`` looked at its schedule at ``at``; raises ``DatabaseUnavailable``."""
    with store.begin(timeout=TIMEOUT) as connection:
        upsert.replace(connection, t.beats, {"name": beat_name, "ticked_at": at})


def last_tick(store: Store) -> datetime | None:
    """When any beat last looked at its schedule; None if none ever did."""
    with store.read(timeout=TIMEOUT) as connection:
        return connection.execute(
            select(func.max(t.beats.c.ticked_at, type_=t.beats.c.ticked_at.type))
        ).scalar()


def schedule_state(store: Store) -> dict[str, tuple[datetime | None, int]]:
    """When each entry of the schedule last ran, and how often: ``{name: (last_run_at, total_run_count)}``."""
    with store.read(timeout=TIMEOUT) as connection:
        rows = connection.execute(select(t.schedules)).all()
    return {row.name: (row.last_run_at, row.total_run_count) for row in rows}


def save_schedule(store: Store, name: str, last_run_at: datetime | None, total_run_count: int) -> None:
    """Remember that an entry of the schedule ran; raises ``DatabaseUnavailable``."""
    values = {"name": name, "last_run_at": last_run_at, "total_run_count": total_run_count}
    with store.begin(timeout=TIMEOUT) as connection:
        upsert.replace(connection, t.schedules, values)


def _excused(worker: WorkerBeat, now: datetime) -> bool:
    """Whether a job that blocks the loop, in a pool where jobs do, is within its time."""
    if worker.pool not in _BLOCKING_POOLS:
        return False
    return any(_within_its_time(job, now) for job in worker.busy)


def _within_its_time(job: Mapping[str, Any], now: datetime) -> bool:
    started, limit = job.get("started_at"), job.get("time_limit")
    if not started or not limit:
        return True
    return now.timestamp() <= float(started) + float(limit) + FRESH.total_seconds()


__all__ = [
    "FRESH",
    "WorkerBeat",
    "WorkerRow",
    "beat",
    "forget",
    "last_tick",
    "problem",
    "save_schedule",
    "schedule_state",
    "tick",
    "workers",
]
