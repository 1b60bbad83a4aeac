"""The job of an entry: its arguments, its options, and enqueueing it as its task's ``apply_async`` does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import Celery
from celery.beat import _evaluate_entry_args, _evaluate_entry_kwargs

from ..domain.job import utcnow
from . import ticks
from .entry import JobEntry

Arguments = tuple[list[Any], dict[str, Any]]


def enqueue(app: Celery, entry: JobEntry, **options: Any) -> Any:
    """Enqueue the job of ``entry`` now, beside its ticks; returns its ``AsyncResult``.

    Raises what ``apply_async`` raises.
    """
    return publish(app, entry, arguments(entry), {**options_of(entry), **options})


def arguments(entry: JobEntry) -> Arguments:
    """The arguments of the entry's next job; calls a ``BeatLazyFunc``."""
    return _evaluate_entry_args(entry.args), _evaluate_entry_kwargs(entry.kwargs)


def options_of(entry: JobEntry) -> dict[str, Any]:
    """The options of the entry's jobs, for ``apply_async``."""
    headers = {**(entry.options.get("headers") or {}), "celery_beat_task": True}
    lock = {"unique": "until_done", "unique_key": f"entry:{entry.name}", "on_duplicate": "skip"}
    return {**entry.options, "headers": headers, **(lock if entry.overlap else {})}


def options_at(entry: JobEntry, due: datetime) -> dict[str, Any]:
    """The options of the job of the tick at ``due``."""
    options = options_of(entry)
    options.setdefault("task_id", ticks.job_id(entry.name, due))
    if entry.jitter:
        starts = due + ticks.jitter(entry.name, due, entry.jitter)
        countdown = options.pop("countdown", None)
        if countdown:
            starts = max(starts, utcnow()) + timedelta(seconds=countdown)
        options["eta"] = starts
    return options


def publish(app: Celery, entry: JobEntry, arguments: Arguments, options: Mapping[str, Any]) -> Any:
    """Enqueue a job of ``entry``; by the name of its task if this process does not know the task."""
    task = app.tasks.get(entry.task)
    if task is not None:
        return task.apply_async(*arguments, **options)
    return app.send_task(entry.task, *arguments, **options)


__all__ = ["Arguments", "arguments", "enqueue", "options_at", "options_of", "publish"]
