"""Reports to Sentry, if the app uses it: one event per job that died of an error, with the error as its exception.

Sentry's own integration reports, in the child process, what a body raises. It misses jobs that did not end there (a
killed child, a hard time limit, an unknown task), and it would make a second, free-text event of our line ``job.dead``.
"""

from __future__ import annotations

import sys
from typing import Any

from ..domain.events import JobDied, JobEvent
from ..domain.job import Failure, Reason
from ..services import Services
from ..text.lines import LOGGER

_NO_ERRORS = frozenset({Reason.EXPIRED, Reason.REVOKED, Reason.REJECTED})
"""Intended ends, which are not reported, as in Celery."""
_RAISED = frozenset({Reason.EXHAUSTED, Reason.PERMANENT})
_OF_THE_PARENT = ("WorkerLostError", "TimeLimitExceeded")
"""Errors of the worker's main process, when a child is gone or was killed for its time limit; no body raises them."""
_QUIET = (LOGGER, "multiprocessing")
"""Loggers whose errors we report already: ours, and that of Celery's process pool, which logs a lost child."""


def watch(services: Services) -> None:
    """Report the dead jobs of this worker, if the app uses Sentry with its Celery integration."""
    sdk: Any = sys.modules.get("sentry_sdk")
    if sdk is None or sdk.get_client().get_integration("celery") is None:
        return
    for name in _QUIET:
        sys.modules["sentry_sdk.integrations.logging"].ignore_logger(name)
    services.events.subscribe(observe, JobDied)


def flush() -> None:
    """Send what waits in this process, which is about to end; Sentry itself does so only in Celery's own children."""
    sdk: Any = sys.modules.get("sentry_sdk")
    if sdk is not None and sdk.get_client().get_integration("celery") is not None:
        sdk.flush()


def observe(event: JobEvent) -> None:
    """Report a job whose child process could not report its error."""
    if isinstance(event, JobDied) and unreported(event.reason, event.failure):
        sys.modules["sentry_sdk"].capture_event(report(event))


def unreported(reason: Reason, failure: Failure) -> bool:
    """Whether Sentry's integration has not seen the error of a job that died for ``reason``."""
    if reason in _RAISED:
        return _name(failure) in _OF_THE_PARENT
    return reason not in _NO_ERRORS


def report(event: JobDied) -> dict[str, Any]:
    """A Sentry event for a dead job; Sentry groups those of one task and error into one issue."""
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


__all__ = ["flush", "observe", "report", "unreported", "watch"]
