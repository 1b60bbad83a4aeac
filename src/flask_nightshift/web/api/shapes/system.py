"""Shapes of queues, workers, locks, tokens, health, and of the whole system."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from .base import After, At, Limit, Name, NextKey, Shape, Why
from .jobs import Pause

Permission = Literal["view", "view_args", "replay", "edit", "discard", "cancel", "pause", "run", "purge"]
Unavailable = Annotated[
    str | UnsetType, Meta(description="Why this part cannot be read now; then it has no others.")
]


class Missing(Shape):
    """A part that cannot be read now, and why."""

    unavailable: str


class QueueDepth(Shape):
    """Jobs in a queue: ``ready`` to start, ``delayed`` until they are due, ``leased`` by workers.

    null: the broker cannot tell.
    """

    queue: str
    ready: int
    delayed: int | None
    leased: int | None
    oldest_seconds: Annotated[float | None, Meta(description="The age of the oldest ready job.")]


class Queue(Shape):
    """A queue now. null: not known. ``workers`` consume it and have ``places``, of which ``running`` are taken."""

    queue: str
    ready: int | None
    delayed: int | None
    leased: int | None
    oldest_seconds: Annotated[float | None, Meta(description="The age of the oldest ready job.")]
    estimated: Annotated[bool, Meta(description="Whether that age comes from the history.")]
    rate_per_second: Annotated[float | None, Meta(description="Attempts that ended, of late.")]
    time_to_empty_seconds: Annotated[float | None, Meta(description="At this rate, without new jobs.")]
    pause: Pause | None
    workers: int | None
    places: int | None
    running: int | None


class Queues(Shape):
    """The queues by name."""

    queues: list[Queue]
    problems: Annotated[list[str], Meta(description="What could not be asked.")]


class QueueChange(Shape):
    """The pause of a queue after an order and before it; ``doubt``: why the name may be wrong."""

    queue: str
    paused: Pause | None
    before: Pause | None
    doubt: str | None


class Purged(Shape):
    """How many jobs were deleted."""

    queue: str
    deleted: int


class RunningJob(Shape):
    """A job that a worker runs; ``started_at`` in seconds since the epoch, ``time_limit`` in seconds."""

    job_id: str
    task: str
    started_at: float | None
    time_limit: float | None


class Worker(Shape):
    """A worker as it reports."""

    name: str
    hostname: str
    pid: int
    healthy: bool
    problem: str | None
    pool: str
    concurrency: int
    running: list[RunningJob]
    queues: list[str]
    version: str
    app_version: str | None
    memory_bytes: int | None
    started_at: At
    seen_at: At


class Workers(Shape):
    """The workers by name."""

    workers: list[Worker]


class Letters(Shape):
    """How many dead letters wait for a decision, and how many are still in the broker."""

    waiting: int | Missing
    unarchived: int | Missing


class Beat(Shape):
    """When a Beat last looked at its schedule, and the live Beats."""

    last_tick: At | UnsetType | None = UNSET
    alive: list[str] | UnsetType = UNSET
    unavailable: Unavailable = UNSET


class Total(Shape):
    """Ended attempts since the beginning; the sums of their runtime and of their wait in seconds."""

    task: str
    queue: str
    outcome: str
    count: int
    runtime_seconds: float
    wait_seconds: float


class Outbox(Shape):
    """Jobs whose transaction has committed and that are not in the broker yet; ``oldest`` in seconds."""

    rows: int | UnsetType = UNSET
    oldest: float | UnsetType = UNSET
    unavailable: Unavailable = UNSET


class Throughput(Shape):
    """Attempts that ended in the last minutes, by outcome."""

    minutes: float | UnsetType = UNSET
    counts: dict[str, int] | UnsetType = UNSET
    unavailable: Unavailable = UNSET


class Overview(Shape):
    """The whole system at one moment. A part that cannot be read is ``{"unavailable": why}``."""

    at: At
    queues: list[QueueDepth] | Missing
    paused: list[Pause] | Missing
    delayed: int | Missing | None
    dead_letters: Letters
    workers: list[Worker] | Missing
    beat: Beat
    totals: list[Total] | Missing
    outbox: Outbox
    throughput: Throughput


class Lock(Shape):
    """The lock of a unique job; ``until``: it ends when the job has ``started``, or is ``done``."""

    key: str
    job_id: str
    task: str
    until: str
    taken_at: At
    expires_at: At
    started_at: At | None


class Locks(Shape):
    """Locks by key."""

    locks: list[Lock]
    more: Annotated[bool, Meta(description="Whether there are more than the limit.")]
    after: NextKey


class Finding(Shape):
    """What ``flask jobs doctor`` says about one thing."""

    level: Literal["ok", "info", "warning", "error"]
    check: str
    message: str
    remedy: str


class Check(Shape):
    """Whether a part works."""

    status: Literal["ok", "fail"]
    latency_ms: float
    detail: str


class Health(Shape):
    """Whether each part works."""

    status: Literal["ready", "unavailable"]
    parts: dict[str, Check]


class Recovered(Shape):
    """Durable jobs that were published again, that a live worker runs, and that the relay will publish."""

    jobs: int
    held: int
    waiting: int
    dry_run: bool


class Migrated(Shape):
    """The revisions that were applied to a database, the oldest first; its URL is without the password."""

    database: str
    applied: list[str]


class Token(Shape):
    """A token of the HTTP API without its secret."""

    id: str
    name: str
    scopes: list[str]
    state: Literal["active", "expired", "revoked"]
    created_by: str
    revoked_by: str | None
    created_at: At
    expires_at: At | None
    used_at: At | None
    revoked_at: At | None


class NewToken(Token):
    """A new token: ``token`` is what a client sends."""

    token: str


class RevokedToken(Shape):
    """A token that was revoked."""

    id: str
    name: str


class Me(Shape):
    """Who you are, and what you may do."""

    name: str
    permissions: list[Permission]


class LocksWanted(Shape):
    """Which page of locks."""

    limit: Limit = 100
    after: After = None


class PauseQueue(Shape):
    """Why a queue is paused."""

    reason: Annotated[str, Meta(max_length=500, description="Shown wherever the pause is shown.")] = ""
    why: Annotated[str, Meta(max_length=500, description="The same; give one of the two.")] = ""


class Purge(Shape):
    """``confirm`` repeats the name of the queue, since its jobs are gone for good."""

    confirm: Name
    why: Why = ""


class ReleaseLock(Shape):
    """The lock to release, so that another job can have it. The job that holds it is not touched."""

    key: Annotated[str, Meta(min_length=1, max_length=1_000)]
    why: Why = ""


__all__ = [
    "Check", "Finding", "Health", "Lock", "Locks", "LocksWanted", "Me", "Migrated", "NewToken", "Overview",
    "PauseQueue", "Purge", "Purged", "Queue", "QueueChange", "Queues", "Recovered", "ReleaseLock",
    "RevokedToken", "Token", "Worker", "Workers",
]  # fmt: skip
