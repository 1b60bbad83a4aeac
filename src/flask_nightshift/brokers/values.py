"""The values that a broker returns."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import BrokerUnavailable
from ..message.envelope import Envelope

Dues = Mapping[str, datetime | None]
"""Ids of jobs, each with the time when it is due, as the history or a list tells; None: unknown."""


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """A broker that answered: its product, its version, and the latency of its answer in seconds."""

    product: str
    version: str
    latency: float


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The number of jobs in one queue now.

    ``ready`` jobs can start at once, ``delayed`` ones wait until they are due, workers hold the ``leased`` ones
    (running or prefetched). ``oldest`` is the age in seconds of the oldest ready job. ``None``: the broker cannot tell.
    """

    queue: str
    ready: int
    delayed: int | None = None
    leased: int | None = None
    oldest: float | None = None


class Where(enum.StrEnum):
    """Where a job is in the broker."""

    READY = "ready"
    DELAYED = "delayed"
    TAKEN = "taken"
    """A worker holds it and has not begun it."""
    BEGUN = "begun"
    NOWHERE = "nowhere"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job waits in its queue, as far as the broker can tell cheaply.

    ``before`` is the number of ready jobs that come before it, None if that is unknown; with ``UNKNOWN`` it is the
    number of all ready jobs. ``unproven``: it began before and its worker died, so it runs beside no other such job.
    ``quarantined`` is the number of jobs that wait in quarantine because of that; None without a quarantine queue.
    ``due`` is until when the broker delays it, where it can tell.
    """

    where: Where
    before: int | None = None
    unproven: bool = False
    quarantined: int | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of ``flask jobs doctor``. ``level`` is ``ok``, ``info``, ``warning`` or ``error``."""

    level: str
    check: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DelayedJob:
    """A job that waits in ``queue`` until ``due`` (None: unknown, or not delayed); ``envelope`` is its message."""

    job_id: str
    task: str
    queue: str
    due: datetime | None
    envelope: Envelope

    def as_dict(self) -> dict[str, Any]:
        """``{"job_id", "task", "queue", "due"}`` in plain JSON types."""
        due = self.due.isoformat() if self.due else None
        return {"job_id": self.job_id, "task": self.task, "queue": self.queue, "due": due}


class TakenInPart(BrokerUnavailable):
    """The broker went away after it had removed the jobs ``taken``: they do not run any more."""

    def __init__(self, why: object, taken: Sequence[DelayedJob]) -> None:
        super().__init__(f"{why}")
        self.taken = tuple(taken)


@dataclass(frozen=True, slots=True)
class HeldLock:
    """The lock of a unique job. ``until``: it ends when the job has ``started``, or is ``done``."""

    key: str
    job_id: str
    task: str
    until: str
    taken_at: datetime
    expires_at: datetime
    started_at: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """The lock in plain JSON types."""
        return {
            "key": self.key,
            "job_id": self.job_id,
            "task": self.task,
            "until": self.until,
            "taken_at": self.taken_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
            "started_at": self.started_at.isoformat() if self.started_at else None,
        }


__all__ = [
    "BrokerHealth",
    "DelayedJob",
    "Dues",
    "Finding",
    "HeldLock",
    "Place",
    "QueueDepth",
    "TakenInPart",
    "Where",
]
