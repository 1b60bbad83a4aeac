"""The values of a job's life: its states, its attempts, the cause of a failure.

This module knows no broker, no database and no Celery.

State machine::

    queued ─► running ─► succeeded
      ▲          │  └──► dead ─► queued          (replay)
      │          ▼
      └────── retrying                           (it stays so until its next attempt starts)

    running ─► queued                            (returned: its worker stopped before the job ended)

    queued, running, retrying ─► cancelled       (by an operator or the app; it never runs again)
    queued, retrying ─► cancelled                (its queue was purged; inferred, so a later event replaces it)

A job can also end without a run: ``queued ─► dead`` (expired, unknown task), or ``queued ─► expired`` if its
``on_expired`` is ``drop``. A unique job that is a duplicate, or that another one replaced, does not run: ``queued ─►
skipped``. A job whose work was done before (``idempotency_key``) ends so, too: ``running ─► skipped``.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

MAX_NAME = 255
"""Bytes kept of an error's type name."""
MAX_TEXT = 2_000
"""Bytes kept of an error's message. All sizes here are bytes of UTF-8."""
MAX_TRACEBACK = 16_000
"""Bytes kept of a traceback, counted from its end, where the error is."""
MAX_ATTEMPTS_CARRIED = 10
"""The number of latest attempts that the message carries; the history has all attempts."""


class JobState(enum.StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class Reason(enum.StrEnum):
    """Why a job became a dead letter."""

    EXHAUSTED = "exhausted"
    """The last allowed attempt failed."""
    PERMANENT = "permanent"
    """Another attempt cannot help: the task raised ``PermanentFailure``, or does not retry this error."""
    REJECTED = "rejected"
    """The task raised ``celery.exceptions.Reject``."""
    EXPIRED = "expired"
    """Its ``expires`` had passed before it could start."""
    REVOKED = "revoked"
    """An operator or the app revoked it; today such a job is cancelled and makes no dead letter."""
    UNKNOWN_TASK = "unknown_task"
    """No worker knew its task name for as long as ``NIGHTSHIFT_UNKNOWN_TASK_WAIT``."""
    INVALID = "invalid"
    """The message is not a job: wrong shape, or content that is not accepted."""
    UNDECODABLE = "undecodable"
    """The message's bytes cannot be read."""
    DELIVERY_LIMIT = "delivery_limit"
    """It started ``NIGHTSHIFT_DELIVERY_LIMIT`` times and was never settled: each time its worker died."""


FINISHED = (
    JobState.SUCCEEDED,
    JobState.DEAD,
    JobState.SKIPPED,
    JobState.CANCELLED,
    JobState.EXPIRED,
)
"""The states in which a job has ended; a replay lets a dead one begin again."""


class Outcome(enum.StrEnum):
    """How an attempt ended; metrics and totals have it as ``outcome``."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    DEAD = "dead"
    RETURNED = "returned"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text; Nightshift never pickles or unpickles one.

    ``error`` is the qualified name of the exception's type (builtins without their module), ``message``
    its ``str()``, ``traceback`` the formatted traceback or an empty string, ``representation`` its ``repr()`` or an
    empty string.
    """

    error: str
    message: str = ""
    traceback: str = ""
    representation: str = ""

    @classmethod
    def of(cls, exc: BaseException, traceback: str = "") -> Failure:
        """``exc`` as a failure, with each text cut to its maximum size."""
        kind = type(exc)
        name = (
            kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        )
        try:
            message = str(exc)
        except Exception as broken:  # noqa: BLE001 - a __str__ that raises must not lose the failure
            message = f"<str() of the exception raised {broken!r}>"
        return cls(
            cut(name, MAX_NAME),
            cut(message, MAX_TEXT),
            cut(traceback, MAX_TRACEBACK, end=True),
            cut(_repr(exc), MAX_TEXT),
        )

    @property
    def shown(self) -> str:
        """The exception's ``repr()``, which Celery's events carry."""
        return self.representation or f"{self.error.rpartition('.')[2]}({self.message!r})"

    def because(self, why: str) -> Failure:
        """The same failure with the reason ``why`` after its message; a long message keeps its beginning."""
        kept = cut(self.message, MAX_TEXT // 2)
        return replace(self, message=cut(f"{kept} ({why})" if kept else why, MAX_TEXT))

    def __str__(self) -> str:
        return f"{self.error}: {self.message}" if self.message else self.error


def _repr(exc: BaseException) -> str:
    try:
        return repr(exc)
    except Exception:  # noqa: BLE001 - a __repr__ that raises must not lose the failure
        return ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One ended attempt, as the message and the history keep it.

    ``at`` is when it started (ISO 8601, UTC), ``runtime`` its seconds, ``error`` and ``message`` the exception's type
    and text.
    """

    number: int
    at: str
    worker: str
    runtime: float | None
    error: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


class JobRef(NamedTuple):  # each attempt creates one, and no other value is cheaper to create
    """A job and its attempt: the fields that events, log lines and metrics share.

    ``attempt`` counts from 1, and from 1 again after each replay; ``run`` is the number of replays so far. ``durable``
    is the id of a durable job's row in the outbox, or empty. ``tags`` are its words for the history.
    """

    job_id: str
    task: str
    queue: str
    attempt: int
    request_id: str | None = None
    enqueued_at: datetime | None = None
    run: int = 0
    durable: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter queue: the original message, and why it was buried.

    ``body`` is the raw body as it was published. ``id`` identifies the burial, so archiving it twice has no effect.
    """

    id: str
    reason: Reason
    at: datetime
    queue: str
    job_id: str | None
    task: str | None
    failure: Failure | None
    body: bytes
    content_type: str
    content_encoding: str
    headers: dict[str, Any] = field(default_factory=dict)
    properties: dict[str, Any] = field(default_factory=dict)
    worker: str | None = None


def cut(text: str, most: int, *, end: bool = False) -> str:
    """The first ``most`` bytes of ``text`` in UTF-8, or with ``end`` the last ones, in whole characters."""
    if len(text) * 4 <= most or (text.isascii() and len(text) <= most):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= most:
        return text
    at = len(raw) - most if end else most
    while 0 < at < len(raw) and raw[at] & 0xC0 == 0x80:  # within a character
        at += 1 if end else -1
    return (raw[at:] if end else raw[:at]).decode("utf-8", "surrogatepass")


def is_celery_internal(task: str | None) -> bool:
    """Whether ``task`` is one of Celery's own tasks (``celery.chord_unlock``), which we do not report as jobs."""
    return task is not None and task.startswith("celery.")


def utcnow() -> datetime:
    """The current time as an aware datetime in UTC."""
    return datetime.now(UTC)
