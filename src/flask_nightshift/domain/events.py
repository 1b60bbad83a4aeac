"""Events of jobs, as typed values, and their observers.

Observers only watch: they run after the job's new state is durable, ``Events`` logs and swallows their errors, and they
cannot change the job's outcome. An event is a ``NamedTuple``, because each job makes two or three of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from .job import Failure, JobRef, Outcome, Reason

logger = logging.getLogger("flask_nightshift.events")


class JobEnqueued(NamedTuple):
    """The broker confirmed a job's message. ``at``: when. ``due``: when it may start (``None``: at once)."""

    job: JobRef
    at: datetime
    args: str = ""
    kwargs: str = ""
    due: datetime | None = None


class JobStarted(NamedTuple):
    """An attempt began. ``wait``: the seconds that the job was ready in its queue, or None if unknown."""

    job: JobRef
    at: datetime
    worker: str
    wait: float | None = None


class JobSucceeded(NamedTuple):
    """The attempt returned. ``runtime``: its seconds. ``result``: JSON text if the task keeps its result, else None."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float
    result: str | None = None

    @property
    def outcome(self) -> Outcome:
        """How the attempt ended."""
        return Outcome.SUCCEEDED


class JobRetrying(NamedTuple):
    """The attempt failed, and the next one is due at ``due``, ``wait`` seconds after ``at``."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float | None
    failure: Failure
    due: datetime
    wait: float
    max_retries: int | None

    @property
    def outcome(self) -> Outcome:
        """How the attempt ended."""
        return Outcome.RETRIED


class JobDied(NamedTuple):
    """The job became a dead letter."""

    job: JobRef
    at: datetime
    worker: str
    runtime: float | None
    failure: Failure
    reason: Reason

    @property
    def outcome(self) -> Outcome:
        """How the attempt ended."""
        return Outcome.DEAD


class JobReturned(NamedTuple):
    """The job went back to its queue unfinished; ``why`` says why (the worker stops, for example)."""

    job: JobRef
    at: datetime
    worker: str
    why: str

    @property
    def outcome(self) -> Outcome:
        """How the attempt ended."""
        return Outcome.RETURNED


JobEvent = JobEnqueued | JobStarted | JobSucceeded | JobRetrying | JobDied | JobReturned
Observer = Callable[[Any], None]
KINDS: tuple[type, ...] = (JobEnqueued, JobStarted, JobSucceeded, JobRetrying, JobDied, JobReturned)


class Events:
    """The observers of one app's jobs."""

    def __init__(self) -> None:
        self._observers: dict[type, tuple[Observer, ...]] = dict.fromkeys(KINDS, ())

    def subscribe(self, observer: Observer, *kinds: type) -> Observer:
        """Call ``observer(event)`` for every event, or for those of ``kinds``; returns ``observer``.

        So it works as a decorator.
        """
        for kind in kinds or KINDS:
            if observer not in self._observers[kind]:
                self._observers[kind] += (observer,)
        return observer

    def emit(self, event: JobEvent) -> None:
        """Call the observers of this kind of event; never raises."""
        for observer in self._observers[type(event)]:
            try:
                observer(event)
            except Exception:
                logger.exception("observer %r failed on %r", observer, type(event).__name__)
