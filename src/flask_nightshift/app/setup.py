"""Sets up the Celery app of a Flask app: our defaults, then the broker's settings, then the user's.

A setting that the user changes later (``celery.conf.task_time_limit = 60``) passes the same checks, so it is honoured,
merged or refused as if ``NIGHTSHIFT_CELERY`` contained it.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from ..config import celery_settings
from ..config.settings import Settings
from ..domain.look_ahead import ByTime
from ..errors import ConfigurationError
from ..options import task as task_options
from ..schedule import entries as schedule
from ..services import Services
from ..task.base import JobTask
from .celery_app import JobCelery

DEFAULTS: dict[str, Any] = {
    "accept_content": ["json"],
    "task_serializer": "json",
    "result_serializer": "json",
    "enable_utc": True,
    "timezone": "UTC",
    "result_expires": 86_400,
    "database_create_tables_at_setup": False,  # at the first result, not at a publish (invariant 7)
    "task_create_missing_queues": True,
    "worker_consumer": "flask_nightshift.worker.consumer:JobConsumer",
    "worker_prefetch_multiplier": ByTime(1),  # no job waits in a busy worker while another is idle
    "worker_lost_wait": 2.0,
    "worker_cancel_long_running_tasks_on_connection_loss": False,  # unlike Celery 6: a lease outlives its connection
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # a worker waits for its broker without limit
    "beat_scheduler": "flask_nightshift.beat:JobScheduler",
}
"""Our defaults for Celery's settings. The broker's settings override them, and ``NIGHTSHIFT_CELERY`` overrides both."""

_TASK_DEFAULTS = "NIGHTSHIFT_TASK_DEFAULTS"
_MERGED = ("beat_schedule", "broker_transport_options")
"""Settings that ``configure`` does not copy from the user, because the schedule and the broker include them."""


_CELERYS = {"store_errors_even_if_ignored": False, "track_started": False}
"""Celery's defaults for options that ``JobTask`` does not set; otherwise each task would copy the app's setting."""


class Routes(tuple[Any, ...]):
    """Celery's ``task_routes``, in order: the task's own queue, the user's routes (``given``), the default queue."""

    given: tuple[Any, ...]

    @classmethod
    def around(cls, given: Any) -> Routes:
        """Put our routers before and after the user's ``task_routes``."""
        if isinstance(given, Routes):
            return given
        routes = () if given is None else tuple(given) if isinstance(given, (list, tuple)) else (given,)
        routes = tuple(route for route in routes if route not in (_to_own_queue, _to_default_queue))
        made = cls((_to_own_queue, *routes, _to_default_queue))
        made.given = routes
        return made


def configure(celery: JobCelery, built: Services) -> None:
    """Give ``celery`` its settings and its task class; raises ``ConfigurationError`` if settings contradict."""
    settings = built.settings
    celery.task_cls = celery.job_task = _task_class(built)
    celery.conf.update(DEFAULTS)
    celery.conf.update(task_default_queue=settings.default_queue, **built.broker.celery_settings())
    given = {name: value for name, value in settings.celery.items() if name not in _MERGED}
    celery.conf.update(given)
    celery.conf.update(
        beat_schedule=schedule.beat_schedule(settings), task_routes=Routes.around(given.get("task_routes"))
    )
    celery.conf.finalize()
    celery.conf.guard(_Guard(celery, settings))


def attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """A task's options as attributes of its class; ``queue`` becomes ``job_queue``, as Celery deprecates ``queue``."""
    return {"job_queue" if name == "queue" else name: value for name, value in options.items()}


def task_defaults(settings: Settings) -> dict[str, Any]:
    """The default options of tasks, from ``NIGHTSHIFT_TASK_DEFAULTS`` and Celery's settings.

    Raises ``ConfigurationError`` if the two disagree.
    """
    options = dict(settings.task_defaults)
    where = {option: f"{_TASK_DEFAULTS}[{option!r}]" for option in options}
    for setting, option in celery_settings.OF_TASKS.items():
        if setting not in settings.celery:
            continue
        value, key = settings.celery[setting], f"NIGHTSHIFT_CELERY[{setting!r}]"
        if options.get(option, value) != value:
            raise ConfigurationError(
                key, value, f"{where[option]} is {options[option]!r}: set it in one place only"
            )
        options[option], where[option] = value, key
    return task_options.checked(options, lambda option: where.get(option, option))


def with_both_limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options``; if they set only one time limit, the other one is adjusted to fit it."""
    names = ("soft_time_limit", "time_limit")
    soft, hard = (options.get(name, getattr(JobTask, name)) for name in names)
    pair = task_options.limits(soft, hard, *(name in options for name in names))
    return dict(options) if pair == (soft, hard) else {**options, **dict(zip(names, pair, strict=True))}


def _task_class(built: Services) -> type[JobTask]:
    options = attributes(with_both_limits(task_defaults(built.settings)))
    return type(
        "Task", (JobTask,), {"abstract": True, "is_default": True, "nightshift": built, **_CELERYS, **options}
    )


class _Guard:
    """Checks a setting that the user changes after set-up, and applies it to the tasks."""

    def __init__(self, celery: JobCelery, settings: Settings) -> None:
        self._celery = weakref.ref(celery)
        self._settings = settings
        self._task_options = task_defaults(settings)

    def __call__(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        celery = self._celery()
        if celery is None:
            return given
        changed = celery_settings.checked("celery.conf", given, late=True)
        if "task_routes" in changed:
            changed["task_routes"] = Routes.around(changed["task_routes"])
        self._of_tasks(celery, changed)
        celery.clear_derived_settings()
        return changed

    def _of_tasks(self, celery: JobCelery, changed: Mapping[str, Any]) -> None:
        options = {
            option: changed[name] for name, option in celery_settings.OF_TASKS.items() if name in changed
        }
        where = {option: f"celery.conf[{name!r}]" for name, option in celery_settings.OF_TASKS.items()}
        self._task_options = task_options.checked(
            {**self._task_options, **options}, lambda name: where.get(name, name)
        )
        wanted = with_both_limits(self._task_options)
        if options.keys() & {"time_limit", "soft_time_limit"}:
            options |= {name: wanted[name] for name in ("time_limit", "soft_time_limit") if name in wanted}
        for name, value in attributes(options).items():
            setattr(celery.job_task, name, value)
            for task in celery._tasks.values():  # noqa: SLF001 - without finalizing the app
                if vars(type(task)).get(name, value) is None and value is not None:
                    delattr(type(task), name)  # Celery's copy of its setting


def _to_own_queue(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:  # noqa: ARG001
    for kind in type(task).__mro__:
        if "is_default" in kind.__dict__:
            return None  # from here on the classes hold the defaults of all tasks
        if queue := kind.__dict__.get("job_queue"):
            return None if options.get("queue") else {"queue": queue}
    return None


def _to_default_queue(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **_: Any) -> Any:  # noqa: ARG001
    queue = getattr(task, "job_queue", None)
    return {"queue": queue} if queue and not options.get("queue") else None


__all__ = ["DEFAULTS", "Routes", "attributes", "configure", "task_defaults", "with_both_limits"]
