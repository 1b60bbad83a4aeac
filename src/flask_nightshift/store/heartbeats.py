"""Who is alive: workers and beats say so themselves, every few seconds.

A worker tells two times. ``seen_at`` comes from the thread that reports, ``loop_at`` from the worker's own
loop: a process whose loop is stuck goes on reporting and is unhealthy all the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, select

from . import Store
from . import tables as t
from .upsert import replace

FRESH = timedelta(seconds=15)
"""How old a sign of life may be."""
TIMEOUT = 5.0
_BLOCKING_POOLS = ("solo",)


@dataclass(frozen=True, slots=True)
class BusyJob:
    """A job that runs now. ``time_limit`` is its hard limit in seconds (None: it may run for ever)."""

    job_id: str
    started_at: datetime
    time_limit: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerBeat:
    """What a worker says of itself. ``name`` is its Celery node name."""

    name: str
    hostname: str
    pid: int
    started_at: datetime
    seen_at: datetime
    loop_at: datetime
    busy: tuple[BusyJob, ...] = ()
    concurrency: int = 1
    pool: str = "prefork"
    queues: tuple[str, ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as others see it. ``problem`` says why it is not healthy, and is empty if it is."""

    beat: WorkerBeat
    problem: str = field(default="")

    @property
    def healthy(self) -> bool:
        """Whether it reports and its loop turns."""
        return not self.problem


def beat(store: Store, worker: WorkerBeat) -> None:
    """Write a worker's sign of life; raises ``DatabaseUnavailable``."""
    values = asdict(worker)
    values["busy"] = [asdict(job) for job in worker.busy]
    with store.begin(timeout=TIMEOUT) as connection:
        replace(connection, t.workers, values)


def workers(store: Store, now: datetime) -> list[WorkerRow]:
    """All workers heard of and not forgotten, by name, judged at ``now``; raises ``DatabaseUnavailable``."""
    with store.read(timeout=TIMEOUT) as connection:
        rows = connection.execute(select(t.workers).order_by(t.workers.c.name)).all()
    return [WorkerRow(found, problem(found, now)) for found in map(_beat, rows)]


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
        replace(connection, t.beats, {"name": beat_name, "ticked_at": at})


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
        replace(connection, t.schedules, values)


def _excused(worker: WorkerBeat, now: datetime) -> bool:
    """Whether a job that blocks the loop, in a pool where jobs do, is within its time."""
    if worker.pool not in _BLOCKING_POOLS:
        return False
    return any(
        job.time_limit is None or now <= job.started_at + timedelta(seconds=job.time_limit) + FRESH
        for job in worker.busy
    )


def _beat(row: Row[Any]) -> WorkerBeat:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    values["busy"] = tuple(BusyJob(**job) for job in values["busy"])
    values["queues"] = tuple(values["queues"])
    return WorkerBeat(**values)


__all__ = [
    "FRESH",
    "BusyJob",
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
