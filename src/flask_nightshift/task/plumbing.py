"""Celery's own tasks (``celery.chord_unlock``, ``celery.starmap``, …), with Celery's defaults.

Canvas uses them, so they behave as Celery documents: no retry unless they ask for one, no time limit of ours, stored
results. We settle their jobs, and run them in the app context, like any other.
"""

from __future__ import annotations

from typing import Any, ClassVar

import celery

from .base import JobTask

_OF_PUBLISHING = frozenset({"exchange", "exchange_type", "routing_key"})


class CeleryTask(JobTask):
    """The base of Celery's own tasks."""

    abstract = True
    autoretry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    max_retries = celery.Task.max_retries
    retry_backoff: float | bool = False
    soft_time_limit: Any = None
    time_limit: Any = None
    ignore_result = False

    def retry(self, *args: Any, **options: Any) -> Any:
        """Ask for another attempt, as in Celery.

        ``celery.chord_unlock`` passes publishing options; they are dropped, because a retry goes back to its own queue.
        """
        return super().retry(*args, **{k: v for k, v in options.items() if k not in _OF_PUBLISHING})


__all__ = ["CeleryTask"]
