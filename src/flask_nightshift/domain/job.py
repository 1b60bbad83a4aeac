"""The values of a job's life: its states, its attempts, why it failed.

Values only: nothing here knows a broker, a database or Celery.

State machine (``TRANSITIONS``)::

    queued ─► running ─► succeeded
      ▲          │  └──► dead ─► queued          (replay)
      │          ▼
      └────── retrying                           (the delay is over when it is running again)

    running ─► queued                            (returned: its worker stopped before it was done)

A job can also be buried without having run: ``queued ─► dead`` (expired, revoked, unknown task).
"""

from __future__ import annotations

import enum
import os
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

MAX_NAME = 255
"""Bytes kept of the name of an error's type."""
MAX_TEXT = 2_000
"""Bytes kept of an error's message; in UTF-8, like all the sizes here."""
MAX_TRACEBACK = 16_000
"""Bytes kept of a traceback: the end of it, where the error is."""
MAX_ATTEMPTS_CARRIED = 10
"""Attempts that travel with the message; the journal has them all."""
_VARIANT = dict(zip("0123456789abcdef", 4 * "89ab", strict=True))
"""What a random hex digit becomes where a UUID has its variant in the upper two bits."""


class JobState(enum.StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    UNKNOWN = "unknown"


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.DEAD}),
    JobState.RUNNING: frozenset(set(JobState) - {JobState.UNKNOWN}),
    JobState.RETRYING: frozenset({JobState.RUNNING, JobState.DEAD}),
    JobState.SUCCEEDED: frozenset(),
    JobState.DEAD: frozenset({JobState.QUEUED}),
    JobState.UNKNOWN: frozenset(set(JobState) - {JobState.UNKNOWN}),
}
"""The legal next states. ``running ─► running`` is a job whose worker died."""


class Reason(enum.StrEnum):
    """Why a job was buried."""

    EXHAUSTED = "exhausted"
    """The last allowed attempt failed."""
    PERMANENT = "permanent"
    """The error is one that another attempt cannot mend."""
    REJECTED = "rejected"
    """The task raised ``celery.exceptions.Reject``."""
    EXPIRED = "expired"
    """Its ``expires`` had passed before it could start."""
    REVOKED = "revoked"
    """Someone revoked or terminated it."""
    UNKNOWN_TASK = "unknown_task"
    """No worker knew its task name for as long as ``NIGHTSHIFT_UNKNOWN_TASK_WAIT``."""
    INVALID = "invalid"
    """The message is not a job: wrong shape, or content that is not accepted."""
    UNDECODABLE = "undecodable"
    """The message's bytes cannot be read."""
    DELIVERY_LIMIT = "delivery_limit"
    """It was delivered ``NIGHTSHIFT_DELIVERY_LIMIT`` times and its worker died every time."""


class Outcome(enum.StrEnum):
    """How an attempt ended; the ``outcome`` label of metrics and totals."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    DEAD = "dead"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, as text: exceptions are never pickled or unpickled.

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
        """The failure that ``exc`` describes, cut to the sizes above."""
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
        """As ``repr()`` of the exception shows it, which is what Celery's events carry."""
        return self.representation or f"{self.error.rpartition('.')[2]}({self.message!r})"

    def because(self, why: str) -> Failure:
        """The same failure, with what made it the last one; of a long message the beginning stays."""
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
    """One ended attempt, as it travels in the message and stands in the journal.

    ``at`` is when it started (ISO 8601, UTC), ``runtime`` its seconds, ``error`` and ``message`` what ended
    it.
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


class JobRef(NamedTuple):  # of all values the cheapest to make, and there is one for each attempt
    """Which attempt of which job: the fields that every event, log line and metric speaks of.

    ``attempt`` starts at 1, and again at 1 with each replay; ``run`` counts the replays that went before.
    """

    job_id: str
    task: str
    queue: str
    attempt: int
    request_id: str | None = None
    enqueued_at: datetime | None = None
    run: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job as it stands in the dead-letter queue: the original message and why it is there.

    ``body`` is the raw body as it was sent; ``id`` identifies the burial, so that archiving it twice is
    harmless.
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
    """The first ``most`` bytes of ``text`` in UTF-8, or with ``end`` the last ones; no character is cut in two."""
    if len(text) * 4 <= most or (text.isascii() and len(text) <= most):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) <= most:
        return text
    at = len(raw) - most if end else most
    while 0 < at < len(raw) and raw[at] & 0xC0 == 0x80:  # within a character
        at += 1 if end else -1
    return (raw[at:] if end else raw[:at]).decode("utf-8", "surrogatepass")


def new_ids(count: int) -> list[str]:
    """``count`` ids of jobs: UUIDs of version 7 (RFC 9562), a time in milliseconds and 74 random bits.

    Ordered by time, so that the history of the jobs of one hour lies together in the database: with random ids each
    job changes pages of its own, which costs more the longer the history is.
    """
    milliseconds = time.time_ns() // 1_000_000
    noise = os.urandom(10 * count).hex()
    prefix = f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7"
    return [
        f"{prefix}{noise[at : at + 3]}-{_VARIANT[noise[at + 3]]}{noise[at + 4 : at + 7]}-{noise[at + 7 : at + 19]}"
        for at in range(0, 20 * count, 20)
    ]


def new_id() -> str:
    """The id of a job; see ``new_ids``."""
    return new_ids(1)[0]


def is_plumbing(task: str | None) -> bool:
    """Whether ``task`` is the name of one of Celery's own tasks (``celery.chord_unlock``): nobody's job."""
    return task is not None and task.startswith("celery.")


def utcnow() -> datetime:
    """The time now, aware, in UTC: the only clock reading that is not passed in."""
    return datetime.now(UTC)
