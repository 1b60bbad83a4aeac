"""Check what an app has kept of RQ, Flower and add-ons of Celery: settings that we do not read, base classes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import celery

from ...brokers.values import Finding
from ...task.base import JobTask
from .check import Seen, looks, some

_UNREAD = {
    "RQ_REDIS_URL": "Set NIGHTSHIFT_BROKER_URL instead",
    "RQ_CONNECTION": "Set NIGHTSHIFT_BROKER_URL instead",
    "RQ_QUEUE_CONNECTIONS": "All queues are on the broker of NIGHTSHIFT_BROKER_URL",
    "RQ_QUEUES": "Set NIGHTSHIFT_QUEUES instead",
    "RQ_ASYNC": "Test with the fixture nightshift_jobs, or task_always_eager in NIGHTSHIFT_CELERY",
    "RQ_SCHEDULER_QUEUE": "Set NIGHTSHIFT_SCHEDULE instead; an entry names its queue",
    "RQ_SCHEDULER_INTERVAL": "Set NIGHTSHIFT_SCHEDULE instead; Beat needs no interval",
    "FLOWER_BASIC_AUTH": "Set NIGHTSHIFT_DASHBOARD_AUTH instead",
    "FLOWER_AUTH": "Set NIGHTSHIFT_DASHBOARD_AUTH instead",
    "FLOWER_URL_PREFIX": "Set NIGHTSHIFT_DASHBOARD_PREFIX instead",
    "FLOWER_PORT": "The dashboard is part of the app, or is served by 'flask jobs dashboard --port'",
}
"""What to do about a setting of another tool; for others of its names it is enough to remove them."""
_PREFIXES = ("RQ_", "FLOWER_")
_LOCKING = {"celery_once": "celery-once", "celery_singleton": "celery-singleton"}
"""Packages whose base classes lock tasks, by the name of the module."""


@looks
def settings_of_others(seen: Seen) -> Iterator[Finding]:
    """Settings of RQ and Flower in the app's configuration or the environment."""
    config = [key for key in seen.services.app.config if key.startswith(_PREFIXES)]
    for where, keys in (("app.config", config), ("the environment", list(os.environ))):
        for key in sorted(key for key in keys if key.startswith(_PREFIXES)):
            tool = "RQ" if key.startswith("RQ_") else "Flower"
            instead = _UNREAD.get(key, "Nightshift has no such setting")
            yield Finding(
                "info",
                "settings",
                f"{key} in {where} is a setting of {tool}, which Nightshift does not read",
                f"{instead}. Remove it when {tool} is gone.",
            )


@looks
def base_classes(seen: Seen) -> Iterator[Finding]:
    """Base classes of tasks that do what Nightshift does, or stand in its way."""
    locking: dict[str, list[str]] = defaultdict(list)
    calling: dict[str, list[str]] = defaultdict(list)
    for task in seen.services.tasks():
        for each in _foreign(task):
            package = each.__module__.partition(".")[0]
            if package in _LOCKING:
                locking[f"{each.__name__} of {_LOCKING[package]}"].append(task.name)
            elif "__call__" in vars(each):
                calling[each.__name__].append(task.name)
    for name, tasks in sorted(locking.items()):
        yield Finding(
            "warning",
            "tasks",
            f"{name} locks {some(tasks)} until a timeout if their worker is killed",
            "Leave out the base class and set unique='until_done' on the task: its lock ends with the job.",
        )
    for name, tasks in sorted(calling.items()):
        yield Finding(
            "info",
            "tasks",
            f"the base class {name} of {some(tasks)} has a __call__ of its own, so their jobs take Celery's slower way",
            "Leave it out if it only pushes an app context, as FlaskTask and ContextTask do: each task has one anyway.",
        )


def _foreign(task: Any) -> Iterator[type]:
    """The classes of a task that are neither Celery's nor ours."""
    for each in getattr(type(task), "unprotected", type(task)).__mro__:
        if each in (celery.Task, JobTask, object):
            continue
        if not each.__module__.startswith(("celery.", "flask_nightshift.")):
            yield each


__all__ = ["base_classes", "settings_of_others"]
