"""Sentry, where the app uses it: one event for each job that died of an error, with the error as its exception.

Sentry's own integration reports, in the child process, what a body raises. It hears nothing of a job that never came to
its end there (a killed child, a hard time limit, a task that nobody knows), and would make a second event, of free
text, of our line ``job.dead``.
"""

from __future__ import annotations

import sys
from typing import Any

from ..domain.events import JobDied, JobEvent
from ..domain.job import Failure, Reason
from ..services import Services
from ..text.lines import LOGGER

_NO_ERRORS = frozenset({Reason.EXPIRED, Reason.REVOKED, Reason.REJECTED})
"""Ends that somebody wanted: Sentry is not told of them, as with Celery."""
_RAISED = frozenset({Reason.EXHAUSTED, Reason.PERMANENT})
_OF_THE_PARENT = ("WorkerLostError", "TimeLimitExceeded")
"""Errors that no body raises: the worker's main process finds that a child is gone, or has it killed."""
_QUIET = (LOGGER, "multiprocessing")
"""Loggers whose errors are reported by us already: the other is Celery's pool of processes, of a child that is gone."""


def watch(services: Services) -> None:
    """Report the dead jobs of this worker, if the app has set Sentry up with its integration of Celery."""
    sdk: Any = sys.modules.get("sentry_sdk")
    if sdk is None or sdk.get_client().get_integration("celery") is None:
        return
    for name in _QUIET:
        sys.modules["sentry_sdk.integrations.logging"].ignore_logger(name)
    services.events.subscribe(observe)


def observe(event: JobEvent) -> None:
    """Report a job that died of what its child process could not report."""
    if isinstance(event, JobDied) and unreported(event.reason, event.failure):
        sys.modules["sentry_sdk"].capture_event(report(event))


def unreported(reason: Reason, failure: Failure) -> bool:
    """Whether Sentry's integration has not seen the error of a job that died for ``reason``."""
    if reason in _RAISED:
        return _name(failure) in _OF_THE_PARENT
    return reason not in _NO_ERRORS


def report(event: JobDied) -> dict[str, Any]:
    """The job's death as an event of Sentry's; those of one task and error are one issue."""
    job, failure = event.job, event.failure
    module, _, _ = failure.error.rpartition(".")
    exception = {
        "type": _name(failure),
        "module": module or None,
        "value": failure.message,
        "mechanism": {"type": "celery", "handled": False},
    }
    return {
        "level": "error",
        "logger": LOGGER,
        "transaction": job.task,
        "transaction_info": {"source": "task"},
        "exception": {"values": [exception]},
        "tags": {"celery_task_id": job.job_id},
        "extra": {
            "celery-job": {"task_name": job.task},
            "attempt": job.attempt,
            "queue": job.queue,
            "reason": str(event.reason),
            "worker": event.worker,
            "traceback": failure.traceback or None,
        },
        "fingerprint": ["flask-nightshift", job.task, failure.error],
    }


def _name(failure: Failure) -> str:
    return failure.error.rpartition(".")[2]


__all__ = ["observe", "report", "unreported", "watch"]
