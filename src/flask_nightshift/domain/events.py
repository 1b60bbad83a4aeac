"""Events of jobs, as typed values, and their observers.

Observers only watch: they run after the job's new state is durable, ``Events`` logs and swallows their errors, and they
cannot change the job's outcome.
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
    """The broker confirmed a job's message. ``at``: when. ``due``: when it may start (``None``: at once)."""

    job: JobRef
    at: datetime
    args: str = ""
    kwargs: str = ""
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt began. ``wait``: the seconds that the job was ready in its queue, or None if unknown."""

    job: JobRef
    at: datetime
    worker: str
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class JobSucceeded:
    """The attempt returned. ``runtime``: its seconds. ``result``: JSON text if the task keeps its result, else None."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float
    result: str | None = None

    outcome = Outcome.SUCCEEDED


@dataclass(frozen=True, slots=True)
class JobRetrying:
    """The attempt failed, and the next one is due at ``due``, ``wait`` seconds after ``at``."""

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
    """The job became a dead letter."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float | None
    failure: Failure
    reason: Reason

    outcome = Outcome.DEAD


@dataclass(frozen=True, slots=True)
class JobReturned:
    """The job went back to its queue unfinished; ``why`` says why (the worker stops, for example)."""

    job: JobRef
    at: datetime
    worker: str
    why: str

    outcome = Outcome.RETURNED


JobEvent = JobEnqueued | JobStarted | JobSucceeded | JobRetrying | JobDied | JobReturned
Observer = Callable[[Any], None]


class Events:
    """The observers of one app's jobs."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def subscribe(self, observer: Observer) -> Observer:
        """Call ``observer(event)`` for every event; returns ``observer``, so that this works as a decorator."""
        if observer not in self._observers:
            self._observers.append(observer)
        return observer

    def emit(self, event: JobEvent) -> None:
        """Call every observer with ``event``; never raises."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                logger.exception("observer %r failed on %r", observer, type(event).__name__)
