"""``Nightshift``, the extension: it sets up each Flask app and declares tasks.

State lives in ``app.extensions["nightshift"]`` (a ``Services``) and ``app.extensions["celery"]`` (the Celery
app), so one ``Nightshift`` object serves several apps in one process.

Every ``flask`` command of the environment imports this module, also one of an app without jobs. So it imports neither
Celery nor SQLAlchemy: ``init_app`` does, with ``wiring``.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from flask import Flask, has_app_context

from . import services
from .domain.notice import DeadLetterNotice
from .domain.record import JobRecord
from .errors import ConfigurationError
from .services import Services
from .task import of_base
from .task.current import CurrentJob
from .task.generators import refuse_generator
from .task.proxy import TaskProxy

if TYPE_CHECKING:
    from .app.celery_app import JobCelery
    from .task.typed import BoundTaskDecorator, CoroutineTask, Task, TaskDecorator

P = ParamSpec("P")
R = TypeVar("R")
N = TypeVar("N", bound=Callable[[DeadLetterNotice], object])


class Nightshift:
    """Background jobs for a Flask app.

    Use it like any Flask extension: ``jobs = Nightshift(app)``, or ``jobs = Nightshift()`` and
    ``jobs.init_app(app)`` in the application factory. Declare tasks with ``@jobs.task(...)``, before or after
    ``init_app``.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._declared: list[tuple[Callable[..., Any], dict[str, Any]]] = []
        self._on_dead: list[Callable[[DeadLetterNotice], object]] = []
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._current = CurrentJob(lambda: self.services.journal)
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
        from . import wiring

        current = wiring.build(app)
        app.extensions[services.KEY] = current
        app.extensions["celery"] = current.celery
        current.on_dead.extend(self._on_dead)
        self._apps.add(app)
        for function, options in self._declared:
            wiring.register(current, function, options)
        wiring.attach(app, current)

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
            **of_base.checked(options, options.get("base"), lambda option: f"{option} of the task {name!r}"),
            "name": name,
        }
        self._declared.append((function, options))
        for app in self._apps:
            from . import wiring

            wiring.register(services.current(app), function, options)
        return TaskProxy(lambda: self.services.celery.tasks[options["name"]], function)

    def on_dead(self, function: N) -> N:
        """Call ``function(notice)`` for each new dead letter, to alert people; ``notice`` is a ``DeadLetterNotice``.

        It is called in the process that stores the letter (a worker), in a thread of its own and within the app
        context: once for each letter, or not at all if that process ends first. What it raises is logged. Returns
        ``function``, so this works as a decorator, before or after ``init_app``. Raises ``ConfigurationError`` for what
        cannot be called so.
        """
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise ConfigurationError("on_dead()", function, "give a function (notice) that is no coroutine")
        self._on_dead.append(function)
        for app in self._apps:
            services.current(app).on_dead.append(function)
        return function

    @property
    def current(self) -> CurrentJob:
        """The running job, for its body and anything that it calls: ``jobs.current.check_cancelled()``, for example."""
        return self._current

    @property
    def services(self) -> Services:
        """The services of the current app: the one of the app context, the worker's, or the only one.

        Raises ``RuntimeError`` if no app is initialised, or if there are several and none is current.
        """
        if has_app_context():
            return services.current()
        from celery import _state

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

    def migrate(self, app: Flask | None = None) -> list[str]:
        """Create or update our tables, as ``flask jobs migrate`` does, for ``app`` (default: the current one).

        They lie in the history's database, and for ``delay_on_commit()`` in the app's own. Returns the applied
        revisions; raises ``DatabaseUnavailable``.
        """
        from .operations.database import migrate

        done = migrate(self.services if app is None else services.current(app))
        return [revision for revisions in done.values() for revision in revisions]

    def once(self, key: str, session: Any = None, *, ttl: float = 3600) -> AbstractContextManager[bool]:
        """Do something once: ``with jobs.once(f"charge:{order_id}", db.session) as first: …``.

        ``first`` is False if the block of ``key`` has been completed within ``NIGHTSHIFT_KEEP_ONCE_DAYS``. If another
        one is in the block now, a job runs again later, which is no attempt, and anything else gets
        ``AlreadyInProgress``; nobody waits. An exception releases the key.

        With a ``session`` (a SQLAlchemy ``Session``, ``scoped_session`` or ``Connection``) a marker of the key is
        written in its transaction: commit it together with what the block writes, in the block or after it. Without
        one, the marker has transactions of its own in the history database: if the process dies in the block, the same
        job does it again, and another one may do it when that job has ended or after ``ttl`` seconds.

        Raises ``DatabaseUnavailable`` if the marker cannot be read or written.
        """
        from .task.once import once

        return once(self.services, key, session, ttl)

    def job(self, job_id: str) -> JobRecord:
        """The record of a job in the history; its state is ``unknown`` if the history does not have the job.

        Raises ``DatabaseUnavailable`` when the history cannot be read.
        """
        from .journal import find_job

        return find_job(self.services.store, job_id) or JobRecord.unknown(job_id)
