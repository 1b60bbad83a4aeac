"""The wording of every log line about a job.

A line has the fields ``job_id``, ``task``, ``attempt``, ``queue`` and, if a web request enqueued the job,
``request_id``. Each event may add others; durations are in seconds.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from ..domain.events import (
    JobCancelled,
    JobDied,
    JobEnqueued,
    JobEvent,
    JobExpired,
    JobRetrying,
    JobReturned,
    JobSkipped,
    JobStarted,
    JobSucceeded,
)
from ..domain.job import JobRef
from ..enqueue.request_id import in_web_request
from ..text.lines import LOGGER, Line, job_fields

logger = logging.getLogger(LOGGER)
_AT_INFO = frozenset({JobStarted, JobSucceeded})


def observe(event: JobEvent) -> None:
    """Log an event of a job; subscribe this function to ``Events``."""
    logger.disabled = False  # as ``logging.config`` leaves each logger that its configuration does not name
    if type(event) in _AT_INFO and not logger.isEnabledFor(logging.INFO):
        return
    match event:
        case JobEnqueued():
            _enqueued(event)
        case JobStarted():
            _started(event)
        case JobSucceeded():
            _succeeded(event)
        case JobRetrying():
            _retrying(event)
        case JobDied():
            _died(event)
        case JobReturned():
            _returned(event)
        case JobSkipped():
            _skipped(event)
        case JobCancelled():
            _cancelled(event)
        case JobExpired():
            _expired(event)


def _enqueued(event: JobEnqueued) -> None:
    # Log the jobs that a request enqueues, but not 100,000 lines for a script that enqueues 100,000.
    level = logging.INFO if in_web_request() else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    due = f"not before {_clock(event.due)}" if event.due else ""
    _say(level, "job.enqueued", due, event.job, due=_iso(event.due))


def _started(event: JobStarted) -> None:
    waited = f"after {event.wait:.3f} s in the queue" if event.wait is not None else ""
    _say(logging.INFO, "job.started", waited, event.job, worker=event.worker, wait=_round(event.wait))


def _succeeded(event: JobSucceeded) -> None:
    text = f"in {event.runtime:.3f} s"
    _say(logging.INFO, "job.succeeded", text, event.job, worker=event.worker, runtime=_round(event.runtime))


def _retrying(event: JobRetrying) -> None:
    text = (
        f"{_attempt_of(event.job.attempt, event.max_retries)} failed with {event.failure}; "
        f"next attempt in {event.wait:.1f} s, at {_clock(event.due)}"
    )
    _say(
        logging.WARNING,
        "job.retrying",
        text,
        event.job,
        attempts_allowed=None if event.max_retries is None else event.max_retries + 1,
        error=event.failure.error,
        error_message=event.failure.message,
        wait=_round(event.wait),
        due=_iso(event.due),
        runtime=_round(event.runtime),
        worker=event.worker,
    )


def _died(event: JobDied) -> None:
    text = f"buried as a dead letter ({event.reason}) after attempt {event.job.attempt}: {event.failure}"
    _say(
        logging.ERROR,
        "job.dead",
        text,
        event.job,
        reason=str(event.reason),
        error=event.failure.error,
        error_message=event.failure.message,
        runtime=_round(event.runtime),
        worker=event.worker,
        exception=event.failure.traceback.rstrip() or None,
    )


def _returned(event: JobReturned) -> None:
    _say(
        logging.WARNING,
        "job.returned",
        f"back to its queue: {event.why}",
        event.job,
        worker=event.worker,
        why=event.why,
    )


def _skipped(event: JobSkipped) -> None:
    text = f"does not run: {event.why} {event.by}"
    _say(logging.INFO, "job.skipped", text, event.job, by=event.by, why=event.why)


def _cancelled(event: JobCancelled) -> None:
    ran = "" if event.runtime is None else f" after {event.runtime:.3f} s"
    _say(
        logging.INFO,
        "job.cancelled",
        f"cancelled{ran}: {event.why}",
        event.job,
        worker=event.worker,
        why=event.why,
        runtime=_round(event.runtime),
    )


def _expired(event: JobExpired) -> None:
    text = "dropped: it had expired before it could start"
    _say(logging.INFO, "job.expired", text, event.job, worker=event.worker)


def _say(level: int, event: str, text: str, job: JobRef, **fields: Any) -> None:
    if logger.isEnabledFor(level):
        logger.log(level, Line(event, text, **job_fields(job), **fields))


def _attempt_of(attempt: int, max_retries: int | None) -> str:
    return f"attempt {attempt}" if max_retries is None else f"attempt {attempt} of {max_retries + 1}"


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")  # in this machine's time zone, which the terminal shows


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
