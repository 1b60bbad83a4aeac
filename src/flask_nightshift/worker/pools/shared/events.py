"""What the parent tells of each job that was submitted, and the terms on which it runs."""

from __future__ import annotations

from typing import NamedTuple

from .ring import Kind

NO_REPORT = "its report did not arrive"
"""``Lost.why`` of a job whose child lives."""


class Terms(NamedTuple):
    """How a job runs. Limits in seconds; ``announce``: its start is told at once, not only when the parent looks."""

    soft: float | None = None
    hard: float | None = None
    announce: bool = False


PLAIN = Terms()


class Started(NamedTuple):
    """The job runs. Told only of jobs that run while the parent looks; ``at`` in seconds of the monotonic clock."""

    job: int
    child: int
    at: float


class Ended(NamedTuple):
    """The body returned; ``body`` is what it returned. ``runtime`` in seconds."""

    job: int
    child: int
    at: float
    runtime: float
    kind: Kind
    body: bytes


class Returned(NamedTuple):
    """No child has started the job, and none will."""

    job: int


class Refused(NamedTuple):
    """The system does not take the message of the job, so no child gets it; ``why`` is its error."""

    job: int
    why: str


class Lost(NamedTuple):
    """The child died while it ran the job, or what it said of a failure did not arrive (``NO_REPORT``).

    ``status``: as of ``os.waitstatus_to_exitcode``; ``why``: who killed it, or ``NO_REPORT``.
    """

    job: int
    child: int
    at: float
    status: int
    why: str


class SoftLimit(NamedTuple):
    """The job has reached its soft limit, and is told by its child."""

    job: int
    child: int


Event = Started | SoftLimit | Ended | Returned | Refused | Lost

__all__ = [
    "NO_REPORT",
    "PLAIN",
    "Ended",
    "Event",
    "Lost",
    "Refused",
    "Returned",
    "SoftLimit",
    "Started",
    "Terms",
]
