"""``Nightshift``, the extension: it sets up each Flask app and declares tasks.

State lives in ``app.extensions["nightshift"]`` (a ``Services``) and ``app.extensions["celery"]`` (the Celery
app), so one ``Nightshift`` object serves several apps in one process.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from celery import _state
from flask import Flask, appcontext_popped, appcontext_pushed, has_app_context

from . import journal, logs, services, store
from .app import setup as celery_setup
from .app.celery_app import JobCelery
from .brokers import connect
from .config import settings as config
from .config.database_url import is_apps
from .config.leftovers import leftovers
from .domain.events import Events
from .domain.job import utcnow
from .observe import unheard
from .options import task as task_options
from .schedule import entries as schedule
from .services import Services
from .task.coroutines import refuse_generator
from .task.proxy import TaskProxy
from .task.typed import BoundTaskDecorator, CoroutineTask, Task, TaskDecorator
from .web import endpoints as http
from .worker import boot

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


class Nightshift:
    """Background jobs for a Flask app.

    Use it like any Flask extension: ``jobs = Nightshift(app)``, or ``jobs = Nightshift()`` and
    ``jobs.init_app(app)`` in the application factory. Declare tasks with ``@jobs.task(...)``, before or after
    ``init_app``.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._declared: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up ``app``.

        Raises ``ConfigurationError`` for a wrong setting, and ``RuntimeError`` if ``app`` is already set up.
        """
        if services.KEY in app.extensions:
            raise RuntimeError(
                f"Nightshift is already initialised on the Flask app {app.name!r}: "
                "call init_app() once, or do not pass the app to Nightshift()."
            )
        current = _build(app)
        app.extensions[services.KEY] = current
        app.extensions["celery"] = current.celery
        self._apps.add(app)
        for function, options in self._declared:
            _register(current, function, options)
        _follow_context(app, current.celery)
        http.register(app, current)

    @overload
    def task(
        self,
        function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *,
        bind: Literal[True],
        **options: Any,
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(
        self, function: Callable[Concatenate[Any, P], R], /, *, bind: Literal[True], **options: Any
    ) -> Task[P, R]: ...
    @overload
    def task(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, **options: Any
    ) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /, **options: Any) -> Task[P, R]: ...
    @overload
    def task(
        self, function: None = None, /, *, bind: Literal[True], **options: Any
    ) -> BoundTaskDecorator: ...
    @overload
    def task(self, function: None = None, /, **options: Any) -> TaskDecorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declare a task: ``@jobs.task`` or ``@jobs.task(name="mail.send", queue="mail", max_retries=3)``.

        Takes the options of Celery's ``app.task`` (``bind``, ``name``, ``base``, ``time_limit``, …). An option that
        you omit comes from ``NIGHTSHIFT_TASK_DEFAULTS``, then from ``JobTask``. ``queue`` is the name of the queue
        for the task's jobs. ``name`` defaults to ``module.function``. Set it: logs and metrics show it, and queued
        jobs carry it, so it must not change when code moves.

        Returns a proxy for the task of the current app: call it directly, or enqueue a job with ``delay()``. Raises
        ``ConfigurationError`` for a wrong option, and ``TypeError`` for a generator function.
        """
        if function is not None:
            return self._declare(function, options)
        return lambda function: self._declare(function, options)

    def _declare(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        refuse_generator(function, options.get("name") or function.__name__)
        name = options.get("name") or f"{function.__module__}.{function.__name__}"
        options = {
            **task_options.checked(options, lambda option: f"{option} of the task {name!r}"),
            "name": name,
        }
        self._declared.append((function, options))
        for app in self._apps:
            _register(services.current(app), function, options)
        return TaskProxy(lambda: self.services.celery.tasks[options["name"]], function)

    @property
    def services(self) -> Services:
        """The services of the current app: the one of the app context, the worker's, or the only one.

        Raises ``RuntimeError`` if no app is initialised, or if there are several and none is current.
        """
        if has_app_context():
            return services.current()
        apps = list(self._apps)
        mine = [
            services.current(app) for app in apps if services.current(app).celery is _state.get_current_app()
        ]
        if mine:
            return mine[0]
        if len(apps) == 1:
            return services.current(apps[0])
        if not apps:
            raise RuntimeError("Nightshift has no app yet: call jobs.init_app(app) before using a task.")
        raise RuntimeError(
            f"Nightshift serves {len(apps)} apps and none is current: use the task inside app.app_context()."
        )

    @property
    def celery(self) -> JobCelery:
        """The Celery app of the current Flask app, for ``celery -A`` and for canvas."""
        return self.services.celery

    def close(self, app: Flask | None = None) -> None:
        """Write pending history, and close the threads and connections of ``app`` (default: of all its apps).

        A call is optional: they also close when the app is collected as garbage. Tests that create many apps can call
        it to release everything at once. The app stays usable, and opens what it needs again.
        """
        for each in [app] if app is not None else list(self._apps):
            services.current(each).close()

    def job(self, job_id: str) -> journal.JobRecord:
        """The record of a job in the history; its state is ``unknown`` if the history does not have the job.

        Raises ``DatabaseUnavailable`` when the history cannot be read.
        """
        found = journal.find_job(self.services.store, job_id)
        return found if found is not None else journal.JobRecord.unknown(job_id)


def _build(app: Flask) -> Services:
    settings = config.load(app)
    celery = JobCelery(app.import_name, set_as_current=False)
    database = store.Store(settings.database_url, shared=is_apps(app, settings.database_url))
    built = Services(
        app=app,
        settings=settings,
        celery=celery,
        broker=connect(settings, app),
        store=database,
        events=Events(),
        journal=journal.Journal(database),
    )
    celery.services = built
    celery_setup.configure(celery, built)
    built.events.subscribe(logs.observe)
    built.events.subscribe(built.journal)
    built.events.subscribe(unheard.Watch(built))
    logs.connect(built)
    for leftover in leftovers(app, settings):
        logger.warning("%s", leftover)
    boot.install(built)
    _register(built, _prune_task(built), {"name": schedule.PRUNE})
    if _state.default_app is None:
        celery.set_default()
    return built


def _register(built: Services, function: Callable[..., Any], options: dict[str, Any]) -> None:
    # shared=False: otherwise Celery adds this app's task to every app made later, bound to the wrong database
    built.celery.task(**{"shared": False, **celery_setup.attributes(options)})(function)


class _Outer(threading.local):
    """A stack per thread: Celery's current app before each app context that is now pushed."""

    def __init__(self) -> None:
        self.apps: list[Any] = []


def _follow_context(app: Flask, celery: JobCelery) -> None:
    """Make ``celery`` the current Celery app while a context of ``app`` is pushed, so ``@shared_task`` uses it."""
    outer = _Outer()  # not in flask.g: Flask has removed the context when it sends appcontext_popped
    ours = weakref.ref(celery)  # the signals keep their receivers for ever

    def pushed(sender: Flask, **_: Any) -> None:  # noqa: ARG001 - the signal's signature
        outer.apps.append(_state._tls.current_app)  # noqa: SLF001 - Celery has no getter that tells None
        _state._set_current_app(ours())  # noqa: SLF001

    def popped(sender: Flask, **_: Any) -> None:  # noqa: ARG001
        _state._set_current_app(outer.apps.pop() if outer.apps else None)  # noqa: SLF001

    appcontext_pushed.connect(pushed, app, weak=False)
    appcontext_popped.connect(popped, app, weak=False)


def _prune_task(built: Services) -> Callable[[], dict[str, int]]:
    def prune() -> dict[str, int]:
        """Delete history that is older than the retention settings (``NIGHTSHIFT_KEEP_*_DAYS``)."""
        return journal.prune(built.store, built.settings, utcnow())

    return prune
