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
from .relations import Relations

logger = logging.getLogger("flask_nightshift.events")


class JobEnqueued(NamedTuple):
    """The broker confirmed a job's message. ``at``: when. ``due``: when it may start (``None``: at once).

    ``args`` and ``kwargs``: texts for people, the headers ``argsrepr`` and ``kwargsrepr``. ``relations``: what connects
    it with other jobs; None if nothing does.
    """

    job: JobRef
    at: datetime
    args: str = ""
    kwargs: str = ""
    due: datetime | None = None
    relations: Relations | None = None


class JobStarted(NamedTuple):
    """An attempt began. ``wait``: the seconds that the job was ready in its queue, or None if unknown.

    ``relations``: of a job that a plain Celery producer enqueued; for others ``JobEnqueued`` has them.
    """

    job: JobRef
    at: datetime
    worker: str
    wait: float | None = None
    relations: Relations | None = None


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
    """The attempt failed, and the next one is due at ``due``, ``wait`` seconds after ``at``.

    ``args`` and ``kwargs`` as in ``JobEnqueued``, which the history may not have recorded.
    """

    job: JobRef
    at: datetime
    worker: str
    runtime: float | None
    failure: Failure
    due: datetime
    wait: float
    max_retries: int | None
    args: str = ""
    kwargs: str = ""

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
        """How the attempt ended, or why there was none."""
        return Outcome.EXPIRED if self.reason is Reason.EXPIRED else Outcome.DEAD


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


class JobSkipped(NamedTuple):
    """A job does not run: ``by`` holds the lock of a unique job, has replaced it, or has done the work before.

    ``recorded``: the job's id is known, so the history says what became of it. Otherwise only the totals count it.
    ``runtime``: the attempt's seconds, if it had begun before that was known. ``awaited``: somebody may wait for its
    result, and no worker tells the result backend.
    """

    job: JobRef
    at: datetime
    by: str
    why: str
    worker: str = ""
    recorded: bool = True
    runtime: float | None = None
    awaited: bool = False

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        return Outcome.SKIPPED


class JobCancelled(NamedTuple):
    """The job was cancelled: it does not run, or was stopped. ``why`` says by whom or how.

    ``runtime``: the seconds of the attempt that was stopped, if one had begun.
    """

    job: JobRef
    at: datetime
    worker: str
    why: str
    runtime: float | None = None

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        return Outcome.CANCELLED


class JobExpired(NamedTuple):
    """The job's ``expires`` had passed before it could start, and it was dropped (``on_expired="drop"``)."""

    job: JobRef
    at: datetime
    worker: str

    @property
    def outcome(self) -> Outcome:
        """How the job ended."""
        return Outcome.EXPIRED


JobEvent = (
    JobEnqueued
    | JobStarted
    | JobSucceeded
    | JobRetrying
    | JobDied
    | JobReturned
    | JobSkipped
    | JobCancelled
    | JobExpired
)
Observer = Callable[[Any], None]
KINDS: tuple[type, ...] = (
    JobEnqueued,
    JobStarted,
    JobSucceeded,
    JobRetrying,
    JobDied,
    JobReturned,
    JobSkipped,
    JobCancelled,
    JobExpired,
)


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
                told = {"observer": repr(observer), "of": type(event).__name__}
                logger.exception("observer.failed", extra=told)
