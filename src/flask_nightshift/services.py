"""The services of one Flask app: its settings, broker, store, journal and events.

``app.extensions["nightshift"]`` is a ``Services``. Views, commands and workers get it with ``current()``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

from .domain.job import is_celery_internal
from .errors import DatabaseUnavailable
from .lifetime.holdings import Holdings

if TYPE_CHECKING:
    from .brokers.base import Broker
    from .config.settings import Settings
    from .domain.events import Events
    from .journal import Journal
    from .store import Store

logger = logging.getLogger("flask_nightshift.runtime")

KEY = "nightshift"
"""The key of the services in ``app.extensions``."""


@dataclass(eq=False)
class Services:
    """The services of one app. ``celery`` is its ``celery.Celery`` app."""

    app: Flask
    settings: Settings
    celery: Any
    broker: Broker
    store: Store
    events: Events
    journal: Journal
    holdings: Holdings = field(default_factory=Holdings)

    def __post_init__(self) -> None:
        for name in (
            "store",
            "broker",
            "journal",
        ):  # the journal is closed first, since it writes to the store
            self.holdings.add(name, getattr(self, name).close)
        self.holdings.close_with(self.app)

    def close(self) -> None:
        """Write pending history, and close all threads and connections; later use opens them again."""
        self.celery.close_connections()
        self.holdings.close()

    def tasks(self) -> Iterator[Any]:
        """The registered tasks by name, without Celery's own (``celery.chord``, for example)."""
        for name, task in sorted(self.celery.tasks.items()):
            if not is_celery_internal(name):
                yield task

    def queues(self) -> tuple[str, ...]:
        """All job queues that the configuration or a task names: the default queue first, then by name."""
        names = {*self.settings.queues, *_declared(self.celery.conf.task_queues)}
        for task in self.tasks():
            named = getattr(task, "job_queue", None) or getattr(task, "queue", None)
            names |= {named} if isinstance(named, str) else set()
        names |= set(_routed(self.celery.conf.task_routes))
        default = self.settings.default_queue
        return (default, *sorted(names - {default}))

    def record_progress(self, job_id: str, progress: dict[str, Any]) -> None:
        """Store a job's progress in the history; while the database is down, it is dropped with a debug line."""
        from .journal import record_progress

        try:
            record_progress(self.store, job_id, progress)
        except DatabaseUnavailable as exc:
            logger.debug("progress of %s not recorded: %s", job_id, exc)

    def longest_time_limit(self) -> float | None:
        """The longest hard time limit of any task, in seconds; None if a task has no limit."""
        fallback = self.celery.conf.task_time_limit
        limits = [getattr(task, "time_limit", None) or fallback for task in self.tasks()]
        if not limits or None in limits:
            return float(fallback) if fallback and not limits else None
        return float(max(limits))


def current(app: Flask | None = None) -> Services:
    """The services of ``app`` (default: ``flask.current_app``); ``RuntimeError`` if it has none."""
    app = app or current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - Flask's documented way
    services = app.extensions.get(KEY)
    if not isinstance(services, Services):
        raise RuntimeError(
            f"Nightshift is not initialised on the Flask app {app.name!r}: "
            "call Nightshift(app), or jobs.init_app(app) in the application factory."
        )
    return services


def _declared(queues: object) -> Iterator[str]:
    """The queue names in Celery's ``task_queues``: a list of ``kombu.Queue``, or a mapping by name."""
    if isinstance(queues, Mapping):
        yield from map(str, queues)
    elif isinstance(queues, (list, tuple)):
        yield from (str(getattr(queue, "name", queue)) for queue in queues)


def _routed(routes: object) -> Iterator[str]:
    """The queue names in Celery's ``task_routes``; a router function does not list its queues."""
    if isinstance(routes, Mapping):
        targets = list(routes.values())
    elif isinstance(routes, (list, tuple)):
        for route in routes:
            yield from _routed(route) if isinstance(route, Mapping) else _pair(route)
        return
    else:
        return
    for target in targets:
        queue = target.get("queue") if isinstance(target, Mapping) else target
        if queue:
            yield str(getattr(queue, "name", queue))


def _pair(route: object) -> Iterator[str]:
    if isinstance(route, (list, tuple)) and len(route) == 2:
        yield from _routed({route[0]: route[1]})


__all__ = ["KEY", "Services", "current"]
