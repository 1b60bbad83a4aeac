"""What is known about a waiting job, and what follows from it, as values."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ...brokers.values import Place
from ...domain.job import JobState
from ...domain.record import JobRecord
from ...domain.relatives import Parts, Relative
from ...store.heartbeats import KnownTasks, WorkerRow

SOON = timedelta(seconds=1)
"""A job that is due within this time is ready."""


class Cause(enum.StrEnum):
    """What a job waits for."""

    CHORD = "chord"
    CHAIN = "chain"
    OUTBOX = "outbox"
    BROKER_AWAY = "broker_away"
    LOST_WORKER = "lost_worker"
    REPLACED = "replaced"
    DUE = "due"
    RETURNED = "returned"
    PAUSED = "paused"
    NO_WORKER = "no_worker"
    UNKNOWN_TASK = "unknown_task"
    POSTPONED = "postponed"
    QUARANTINE = "quarantine"
    HISTORY_BEHIND = "history_behind"
    NOT_IN_BROKER = "not_in_broker"
    TAKEN = "taken"
    BUSY = "busy"
    QUEUE = "queue"


@dataclass(frozen=True, slots=True)
class Reason:
    """A cause, and the sentence that tells it."""

    cause: Cause
    sentence: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job waits: the main reason, and what else would keep it."""

    reason: Reason
    also: tuple[Reason, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """``{"cause", "sentence", "also": [{"cause", "sentence"}]}``."""
        also = [{"cause": str(each.cause), "sentence": each.sentence} for each in self.also]
        return {"cause": str(self.reason.cause), "sentence": self.reason.sentence, "also": also}


@dataclass(frozen=True, slots=True)
class InOutbox:
    """A job's row in the outbox, which waits to be published since ``since``."""

    since: datetime
    claimed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """``ended`` attempts of a queue within ``seconds``."""

    ended: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a job and its surroundings at ``now``.

    ``broker_error`` says why the broker does not answer; then ``place`` is None. ``workers`` are all that the history
    knows, ``known`` their tasks by name. ``paused`` tells since when, by whom and why. ``relays``: whether a process is
    alive that publishes what waits in the outbox. ``after`` is the job before it in its chain, ``parts`` are those of
    the chord whose body it is.
    """

    now: datetime
    job: JobRecord
    workers: Sequence[WorkerRow] = ()
    known: Mapping[str, KnownTasks] = field(default_factory=dict)
    place: Place | None = None
    broker_error: str | None = None
    outbox: InOutbox | None = None
    relays: bool = True
    paused: str | None = None
    replaced_by: str = ""
    pace: Pace | None = None
    after: Relative | None = None
    parts: Parts | None = None

    @property
    def enqueued(self) -> bool:
        """Whether the job was published, as far as the history knows."""
        return self.job.state is not JobState.UNKNOWN

    @property
    def is_due(self) -> bool:
        """Whether its time has come."""
        return self.job.due_at is None or self.job.due_at <= self.now + SOON

    @property
    def consumers(self) -> list[WorkerRow]:
        """The live workers of its queue."""
        return [row for row in self.workers if row.healthy and self.job.queue in row.queues]

    @property
    def runner(self) -> WorkerRow | None:
        """The live worker that reports to run it."""
        running = (row for row in self.workers if row.healthy)
        return next((row for row in running if any(one["job_id"] == self.job.id for one in row.busy)), None)


__all__ = ["Cause", "Facts", "InOutbox", "Pace", "Reason", "Waiting"]
