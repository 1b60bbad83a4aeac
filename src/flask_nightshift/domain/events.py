"""What happens to jobs, as typed values, and who is told.

Observers only watch: they run after the state is durable, their errors are logged and swallowed, and
nothing they do can change what becomes of a job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .job import Failure, JobRef, Outcome, Reason

logger = logging.getLogger("flask_nightshift.events")


@dataclass(frozen=True, slots=True)
class JobEnqueued:
    """The broker has taken a job. ``at`` is when; ``due`` when it may start (``None``: at once)."""

    job: JobRef
    at: datetime
    args: str = ""
    kwargs: str = ""
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt began. ``wait`` is the seconds it stood ready in the queue, where that can be told."""

    job: JobRef
    at: datetime
    worker: str
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class JobSucceeded:
    """The attempt returned. ``result`` is JSON text, when the task keeps its result."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float
    result: str | None = None

    outcome = Outcome.SUCCEEDED


@dataclass(frozen=True, slots=True)
class JobRetrying:
    """The attempt failed and another is due at ``due``, ``wait`` seconds from ``at``."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float | None
    failure: Failure
    due: datetime
    wait: float
    max_retries: int | None

    outcome = Outcome.RETRIED


@dataclass(frozen=True, slots=True)
class JobDied:
    """The job was buried in the dead-letter queue."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float | None
    failure: Failure
    reason: Reason

    outcome = Outcome.DEAD


@dataclass(frozen=True, slots=True)
class JobReturned:
    """The job went back to its queue unfinished: the worker stops, or its next state could not be written."""

    job: JobRef
    at: datetime
    worker: str
    why: str

    outcome = Outcome.RETURNED


JobEvent = JobEnqueued | JobStarted | JobSucceeded | JobRetrying | JobDied | JobReturned
Observer = Callable[[Any], None]


class Events:
    """The observers of one Nightshift extension on one app."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def subscribe(self, observer: Observer) -> Observer:
        """Have ``observer(event)`` called for every event; returns it, so it can decorate."""
        if observer not in self._observers:
            self._observers.append(observer)
        return observer

    def emit(self, event: JobEvent) -> None:
        """Tell every observer; never raises."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                logger.exception("observer %r failed on %r", observer, type(event).__name__)
