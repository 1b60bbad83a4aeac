"""Our Celery app: every publish of a job goes through ``JobCelery.send_task``.

``delay``, ``apply_async``, canvas, ``send_task`` by name and Beat all call it, and it calls one publisher
(``enqueue/publisher.py``).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..brokers.connections import close_pool, forget_inherited
from ..brokers.failures import STEP
from ..config.celery_settings import is_setting_or_typo
from ..config.settings import ON_COMMIT
from ..enqueue.publisher import JobPublisher
from ..lifetime.forks import when_forked
from ..schedule import entries as schedule
from ..task.registry import TaskMaker
from . import canvas, results
from .amqp import JobAMQP
from .late_signals import LateSignal
from .live_settings import JobSettings
from .result_waits import ResultWaits
from .rpc_results import is_rpc

if TYPE_CHECKING:
    from ..services import Services

T = TypeVar("T")
_OPENED = (
    "amqp", "_pool", "_backend_cache", "_local", "announcer", "cancels", "line", "result_waits", "settlement"
)  # fmt: skip
"""What the app opens at its first use, and what a worker sets on it."""

logger = logging.getLogger("flask_nightshift.celery_app")

canvas.extend()
results.extend()


class JobCelery(TaskMaker):
    """The Celery app of one Flask app."""

    services: Services
    """The services of the Flask app; the extension sets them."""
    amqp_cls = JobAMQP
    events_cls = "flask_nightshift.worker.monitoring:JobEvents"
    settlement: Any = None
    """The ``Settlement`` of the worker in this process, or None."""
    announcer: Any = None
    line: Any = None
    """The ``Announcer`` of the worker in this process, or None."""
    _pool: Any = None
    publisher_kind: type[JobPublisher] = JobPublisher
    """The class of its publisher; ``otel`` has another one."""
    draining = False
    """True after the grace period of a stop: the worker returns the jobs that still run."""

    def on_init(self) -> None:
        """Celery's hook at the end of its ``__init__``."""
        super().on_init()
        self.on_after_configure = LateSignal("app.on_after_configure")
        self.on_after_finalize = LateSignal("app.on_after_finalize")
        made = self.conf  # by Celery
        self._conf: Any = JobSettings(made.changes, keys=made._keys)  # noqa: SLF001 - Celery's own way
        when_forked(self)

    def finalize(self, auto: bool = False) -> None:
        """Create all declared tasks, as Celery does. Celery calls it at each access to ``tasks``."""
        if not self.finalized:
            self.on_after_configure.send_late(self)
        super().finalize(auto)

    def send_late_signals(self) -> None:
        """Call receivers that connected after this app sent its signal; raises their ``ConfigurationError``."""
        self.on_after_configure.send_late(self)
        self.on_after_finalize.send_late(self)

    def _add_periodic_task(self, key: str, entry: dict[str, Any], name: str | None = None) -> None:
        super()._add_periodic_task(key, schedule.check_periodic(key, entry), name=name)

    def after_fork(self) -> None:
        """Forget the parent's connections in a child; Celery does not see plain forks (gunicorn's ``--preload``)."""
        forget_inherited()
        try:
            self._after_fork()
        except Exception:
            logger.exception("results.not_reset")

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Publish one job; returns its ``AsyncResult``. Options as in Celery.

        Raises ``BrokerUnavailable`` within 3 s, ``InvalidOption`` for a wrong option, ``UnencodableArgument`` for an
        argument that cannot be encoded.
        """
        return self.publisher.one(name, args, kwargs, options)

    def send_task_on_commit(
        self, name: str, args: Any = None, kwargs: Any = None, *, session: Any = None, **options: Any
    ) -> Any:
        """``send_task`` with the transaction of ``session``: see ``apply_async_on_commit`` of a task."""
        return self.services.outbox.on_commit(self.send_task, name, args, kwargs, session=session, **options)

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """The class of this app's workers, for ``celery worker`` and ``flask jobs worker``."""
        return self.subclass_with_self("flask_nightshift.worker.main:JobWorker")

    @cached_property
    def deduplicates(self) -> bool:
        """Whether a worker skips jobs that succeeded before (``worker_deduplicate_successful_tasks``).

        Otherwise we do not record successful jobs: that costs more than all other work at the end of a job.
        """
        return bool(self.conf.worker_deduplicate_successful_tasks)

    @cached_property
    def always_eager(self) -> bool:
        """Celery's setting ``task_always_eager``, which each publish reads."""
        return bool(self.conf.task_always_eager)

    @cached_property
    def timezone(self) -> Any:
        """The app's time zone. Each publish reads it, and Celery's own cached property takes a lock."""
        return super().timezone

    def uses_utc_timezone(self) -> bool:
        """Whether the time zone is UTC; cached, because each publish reads it."""
        return self._uses_utc

    @cached_property
    def _uses_utc(self) -> bool:
        return bool(super().uses_utc_timezone())

    def clear_derived_settings(self) -> None:
        """Forget values derived from settings, after a setting changed."""
        for name in ("_uses_utc", "always_eager", "annotations", "deduplicates", "publisher", "timezone"):
            self.__dict__.pop(name, None)
        for task in self._tasks.values():
            vars(task).pop("_exec_options", None)  # Celery's cache of a task's options

    @property
    def pool(self) -> Any:
        """The connections of Celery's producer; they belong to this app and close with it."""
        if self._pool is None:
            self._ensure_after_fork()
            made = self._pool = self.connection_for_write().Pool(limit=self.conf.broker_pool_limit)
            mine = os.getpid()  # a forked child that shut the socket down would also do so for its parent
            self.services.holdings.add("pool", lambda: close_pool(made) if os.getpid() == mine else None)
        return self._pool

    def close_connections(self) -> None:
        """Close the result backend's connections, and forget the pools; the app's holdings close those."""
        self._pool = None
        if "amqp" in self.__dict__:
            self.amqp.forget_pool()
        if "result_waits" in self.__dict__:
            self.result_waits.close()
        client = vars(self._backend).get("client") if self._backend is not None else None
        if (pool := getattr(client, "connection_pool", None)) is not None:
            pool.disconnect()

    @contextmanager
    def lent(self, settings: Mapping[str, Any]) -> Iterator[None]:
        """Until the end of the block, the app has these ``settings``, other connections, and no worker: for tests."""
        mine = self.__dict__
        kept = {name: mine[name] for name in _OPENED if name in mine}
        before = {name: self.conf.get(name) for name in settings}
        for name in ("amqp", "result_waits"):
            mine.pop(name, None)
        mine.update(_pool=None, _backend_cache=None, _local=threading.local())
        self.conf.put(settings)
        self.clear_derived_settings()
        try:
            yield
        finally:
            self.conf.put(before)
            self.clear_derived_settings()
            for name in _OPENED:
                mine.pop(name, None)
            mine.update(kept)

    @cached_property
    def publisher(self) -> JobPublisher:
        """The publisher of this app's jobs."""
        services, celerys = self.services, cast("Any", super())
        return self.publisher_kind(
            self,
            services.publishing,
            services.locks,
            services.events.emit,
            lambda *args, **given: celerys.send_task(*args, **given),
            services.redaction,
            services.holds_jobs if services.settings.enqueue == ON_COMMIT else None,
            lambda: services.outbox.keep,
        )

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        """The class of results. Each publish reads it, and Celery's own cached property takes a lock."""
        return super().AsyncResult

    @cached_property
    def result_waits(self) -> ResultWaits:
        """What hears of results for coroutines."""
        return ResultWaits(self._get_backend)

    def answering_coroutines(self, call: Callable[[], T]) -> T:
        """Make ``call``, which enqueues jobs of coroutines; their results have the backend of ``result_waits``.

        Otherwise each thread that enqueues for coroutines has a backend with connections of its own, and ``rpc://``
        sends each result to the thread that enqueued the job.
        """
        shared, mine = self.result_waits.backend, self._local.__dict__
        before = dict(mine)
        mine["backend"] = shared
        if is_rpc(shared):
            mine["oid"] = shared.oid
        try:
            return call()
        finally:
            mine.clear()
            mine.update(before)

    def _get_backend(self) -> Any:
        """The result backend; on Redis it does not subscribe to a result when the job is published.

        That subscription would block a publish for minutes while the server is frozen. ``AsyncResult.get`` subscribes
        by itself, and also finds a result that was stored earlier. We skip the unsubscribe for results that have no
        subscriber.
        """
        backend = super()._get_backend()
        if type(backend).__module__ == "celery.backends.redis":
            end = backend.remove_pending_result
            backend.on_task_call = lambda producer, task_id: None  # noqa: ARG005 - Celery's own signature
            backend.remove_pending_result = lambda result: (
                end(result) if _has_waiter(backend, result) else result
            )
        return backend

    def config_from_object(
        self,
        obj: Any,
        silent: bool = False,
        force: bool = False,  # noqa: ARG002 - Celery's signature; we always read at once
        namespace: str | None = None,
    ) -> Any:
        """Take Celery's settings from an object or module, as if ``NIGHTSHIFT_CELERY`` contained them.

        Raises ``ConfigurationError`` for a setting that we refuse.
        """
        if not self.loader.config_from_object(obj, silent=silent):
            return None
        given, self.loader._conf = self.loader.conf, None  # noqa: SLF001 - so that Celery does not read them too
        prefix = f"{namespace.rstrip('_')}_" if namespace else ""
        names = {key: key.removeprefix(prefix) for key in given if key.startswith(prefix)}
        self.conf.update({name: given[key] for key, name in names.items() if is_setting_or_typo(name)})
        return self.conf

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """A connection that publishes; its time limits are shorter than a consumer's."""
        given = options.pop("transport_options", None) or {}
        options["connect_timeout"] = options.get("connect_timeout") or STEP
        wanted = {**self.services.broker.write_options, **given}
        return super().connection_for_write(url, transport_options=wanted, **options)


def _has_waiter(backend: Any, result: Any) -> bool:
    """Whether a caller in this process waits for ``result``: only then is there a subscription."""
    return any(result.id in waiting for waiting in backend._pending_results)  # noqa: SLF001 - Celery's own place
