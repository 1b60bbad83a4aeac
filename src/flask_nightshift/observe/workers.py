"""The workers that report, as ``flask jobs workers``, ``flask jobs stats`` and the dashboard show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..services import Services
from ..store import deploys, heartbeats
from ..store.deploys import Deploy
from ..store.heartbeats import WorkerRow


def seen(services: Services, now: datetime) -> list[WorkerRow]:
    """The workers by name, judged at ``now``; raises ``DatabaseUnavailable``."""
    return heartbeats.workers(services.store, now)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the app: how many workers run it, and since when; ``newest``: it was deployed last."""

    name: str
    workers: int
    since: datetime
    newest: bool


@dataclass(frozen=True, slots=True)
class Fleet:
    """All workers. Sums are over the healthy ones: their ``places`` for jobs, those that are ``running``.

    ``memory`` is in bytes, None if no worker tells. ``versions``: the newest first. ``beat``: what is known of Beats.
    """

    rows: list[WorkerRow] = field(default_factory=list)
    healthy: int = 0
    places: int = 0
    running: int = 0
    memory: int | None = None
    versions: tuple[Version, ...] = ()
    beat: heartbeats.BeatState = field(default_factory=lambda: heartbeats.BeatState(None))

    @property
    def mixed(self) -> bool:
        """Whether workers run different versions, as in a deploy."""
        return len(self.versions) > 1

    def is_old(self, row: WorkerRow) -> bool:
        """Whether ``row`` runs another version than the newest."""
        return self.mixed and row.app_version is not None and row.app_version != self.versions[0].name


def fleet(services: Services, now: datetime) -> Fleet:
    """All workers and Beats at ``now``; raises ``DatabaseUnavailable``."""
    store = services.store
    rows = heartbeats.workers(store, now)
    since = min((row.started_at for row in rows), default=now)
    return summed_up(rows, deploys.since(store, since), heartbeats.beats(store, now))


def beat(services: Services, now: datetime) -> heartbeats.BeatState:
    """What is known of Beats at ``now``; raises ``DatabaseUnavailable``."""
    return heartbeats.beats(services.store, now)


def summed_up(rows: Sequence[WorkerRow], deployed: Sequence[Deploy], beats: heartbeats.BeatState) -> Fleet:
    """``rows`` with what they have together; ``deployed``: the deploys since the first of them started."""
    healthy = [row for row in rows if row.healthy]
    memory = [row.memory for row in healthy if row.memory is not None]
    return Fleet(
        rows=list(rows),
        healthy=len(healthy),
        places=sum(max(1, row.concurrency) for row in healthy),
        running=sum(len(row.busy) for row in healthy),
        memory=sum(memory) if memory else None,
        versions=_versions(healthy or rows, deployed),
        beat=beats,
    )


def _versions(rows: Sequence[WorkerRow], deployed: Sequence[Deploy]) -> tuple[Version, ...]:
    first: dict[str, datetime] = {}
    count: dict[str, int] = {}
    for row in rows:
        if row.app_version is not None:
            name = row.app_version
            first[name] = min(row.started_at, first.get(name, row.started_at))
            count[name] = count.get(name, 0) + 1
    first |= {
        each.version: each.at for each in deployed if each.version in first
    }  # the last deploy of a version counts
    in_order = sorted(first, key=lambda name: first[name], reverse=True)
    return tuple(Version(name, count[name], first[name], name == in_order[0]) for name in in_order)


def as_dict(row: WorkerRow) -> dict[str, Any]:
    """A worker in plain JSON types."""
    return {
        "name": row.name,
        "hostname": row.hostname,
        "pid": row.pid,
        "healthy": row.healthy,
        "problem": row.problem or None,
        "pool": row.pool,
        "concurrency": row.concurrency,
        "running": [dict(job) for job in row.busy],
        "queues": list(row.queues),
        "version": row.version,
        "app_version": row.app_version,
        "memory_bytes": row.memory,
        "started_at": row.started_at.isoformat(),
        "seen_at": row.seen_at.isoformat(),
    }


__all__ = ["Fleet", "Version", "WorkerRow", "as_dict", "beat", "fleet", "seen", "summed_up"]
