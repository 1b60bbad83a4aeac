"""Our Celery app: every publish of a job goes through ``JobCelery.send_task``.

``delay``, ``apply_async``, canvas, ``send_task`` by name and Beat all end there, so there is one place that
declares the topology, marks the message, and turns a broker that is away into ``BrokerUnavailable``.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from celery.app.amqp import AMQP, Queues
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu import Queue
from kombu.exceptions import EncodeError
from kombu.pools import ProducerPool

from ..brokers import Connection, destination, unavailable
from ..brokers.connections import close_pool, forget_inherited
from ..brokers.failures import STEP
from ..config.celery_settings import is_meant
from ..domain.events import JobEnqueued
from ..domain.job import JobRef, new_id, utcnow
from ..enqueue.draft import brief
from ..enqueue.publisher import Enqueuer
from ..enqueue.request_id import request_id
from ..errors import BrokerUnavailable
from ..lifetime.forks import settle_in, when_forked
from ..message.headers import HISTORY, stamp
from ..options.call import checked_call, unsendable, with_limits
from ..options.publish import check_serializer, checked_priority, checked_queue, culprit
from ..schedule import entries as schedule
from ..task.plumbing import is_plumbing
from ..task.registry import TaskMaker
from ..task.verdict import in_worker
from .late_signals import LateSignal
from .live_settings import JobSettings

if TYPE_CHECKING:
    from ..services import Runtime

FOLLOWS_WITHIN = 30.0
"""Seconds for which an attempt tries to enqueue what follows its job."""

logger = logging.getLogger("flask_nightshift.celery_app")


class JobQueues(Queues):
    """Celery's queues, declared as our broker wants them, also those that nobody listed."""

    def __init__(self, *args: Any, declare: Any, **kwargs: Any) -> None:
        self._declare = declare
        super().__init__(*args, **kwargs)

    def new_missing(self, name: str) -> Queue:
        """A queue that nobody listed."""
        return self._declare(name)


class JobAMQP(AMQP):
    """Celery's messaging with ``JobQueues``."""

    Connection = Connection
    _producer_pool: Any = None

    @property
    def producer_pool(self) -> Any:
        """The producers on the connections of the app's pool."""
        if self._producer_pool is None:
            pool = self.app.pool
            self._producer_pool = ProducerPool(pool, limit=pool.limit)
        return self._producer_pool

    def forget_pool(self) -> None:
        """Make another one when it is needed."""
        self._producer_pool = None

    def _retry_publish(self, publish: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Enqueue what follows a job: its links, the rest of its chain, the body of its chord.

        Its body has returned and should not run again for a broker that is away for a moment, so this waits for it.
        """
        until = monotonic() + FOLLOWS_WITHIN
        while True:
            try:
                return super()._retry_publish(publish, *args, **options)
            except BrokerUnavailable as exc:
                if not in_worker() or monotonic() > until:
                    raise
                logger.warning("job.follow_up_waits", extra={"why": str(exc)})
                sleep(1.0)

    def Queues(self, queues: Any, **options: Any) -> JobQueues:  # noqa: N802 - Celery's name
        """The queues to use: the given ones, else all that the configuration or a task names."""
        runtime: Runtime = self.app.runtime
        if not queues:
            queues = [runtime.broker.queue(name) for name in runtime.queues()]
        return JobQueues(queues, default_exchange=None, declare=runtime.broker.queue, **options)


class JobCelery(TaskMaker):
    """The Celery app of one Flask app."""

    runtime: Runtime
    """Set by the extension, when there is one."""
    amqp_cls = JobAMQP
    events_cls = "flask_nightshift.worker.monitoring:JobEvents"
    settlement: Any = None
    """The ``Settlement`` of this process's worker; None where there is none."""
    announcer: Any = None
    """The ``Announcer`` of this process's worker; None where there is none."""
    _pool: Any = None
    draining = False
    """The grace period of a stop is over: what still runs is given back."""

    def on_init(self) -> None:
        """Celery's hook at the end of its ``__init__``."""
        super().on_init()
        self.on_after_configure = LateSignal("app.on_after_configure")
        self.on_after_finalize = LateSignal("app.on_after_finalize")
        made = self.conf  # by Celery
        self._conf: Any = JobSettings(made.changes, keys=made._keys)  # noqa: SLF001 - Celery's own way
        when_forked(self)

    def finalize(self, auto: bool = False) -> None:
        """Make all declared tasks, as Celery does; also asked at each look at the tasks."""
        if not self.finalized:
            self.on_after_configure.tell_late(self)
        super().finalize(auto)

    def tell_late_receivers(self) -> None:
        """Call those who connected to a signal of this app after it was sent; raises ``ConfigurationError``."""
        self.on_after_configure.tell_late(self)
        self.on_after_finalize.tell_late(self)

    def _add_periodic_task(self, key: str, entry: dict[str, Any], name: str | None = None) -> None:
        super()._add_periodic_task(key, schedule.check(key, entry), name=name)

    def after_fork(self) -> None:
        """In a child: no connection is the parent's; of plain forks (gunicorn's ``--preload``) Celery does not know."""
        forget_inherited()
        try:
            self._after_fork()
        except Exception:
            logger.exception("the result backend could not begin anew after a fork")

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Publish one job, as Celery does; raises ``BrokerUnavailable`` within 3 s when it cannot."""
        settle_in()
        result = self.enqueuer.one(name, args, kwargs, options)
        if result is not None:
            return result
        options = with_limits(checked_call(options), options.get("task_type") or self._tasks.get(name))
        options["task_id"] = options.get("task_id") or new_id()
        options.update(self._whole_delay(options))
        to = destination(self, name, args, kwargs, options)
        queue, at = to.name, utcnow()
        if options.get("queue") is not None:
            checked_queue(options["queue"])
        if options.get("priority") is not None:
            options["priority"] = checked_priority(options["priority"])
        check_serializer(options.get("serializer"), self.conf.accept_content)
        headers = dict(options.get("headers") or {})
        stamp(headers, queue=queue, at=at, request_id=request_id())
        options["headers"] = headers
        wanted = {**options, **self.runtime.broker.publish_options}
        if options.get("countdown") and self.runtime.broker.capabilities.whole_seconds:
            wanted = to.later(options["countdown"], wanted)
        with (
            self._failing_fast(headers),
            self._naming_arguments(name, args, kwargs, options),
            self.producer_or_acquire(wanted.pop("producer", None)) as producer,
        ):
            result = self.runtime.broker.send(
                producer,
                to.queue,
                lambda: super(JobCelery, self).send_task(name, args, kwargs, producer=producer, **wanted),
            )
        self._tell(name, options, queue, headers[HISTORY], at, args, kwargs)
        return result

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """The class of this app's workers, for ``celery worker`` and ``flask jobs worker``."""
        return self.subclass_with_self("flask_nightshift.worker.main:JobWorker")

    @cached_property
    def deduplicates(self) -> bool:
        """Whether a worker remembers the jobs that succeeded, to skip one that comes again: a setting of Celery's.

        Without it nobody asks, and remembering a thousand of them costs more than all else at the end of a job.
        """
        return bool(self.conf.worker_deduplicate_successful_tasks)

    @cached_property
    def timezone(self) -> Any:
        """The app's time zone, which is asked for with each job; Celery's own kind of property locks for it."""
        return super().timezone

    def uses_utc_timezone(self) -> bool:
        """Whether that is UTC; asked with each job too."""
        return self._uses_utc

    @cached_property
    def _uses_utc(self) -> bool:
        return bool(super().uses_utc_timezone())

    def forget_settings(self) -> None:
        """A setting has changed: look up anew what was derived from them."""
        for name in ("_uses_utc", "annotations", "deduplicates", "enqueuer", "timezone"):
            self.__dict__.pop(name, None)
        for task in self._tasks.values():
            vars(task).pop("_exec_options", None)  # Celery's memory of a task's options

    @property
    def pool(self) -> Any:
        """Connections that publish what does not go the short way: this app's own, and gone with it."""
        if self._pool is None:
            self._ensure_after_fork()
            made = self._pool = self.connection_for_write().Pool(limit=self.conf.broker_pool_limit)
            mine = os.getpid()  # to close a socket in a forked child is to close it for its parent
            self.runtime.holdings.add("pool", lambda: close_pool(made) if os.getpid() == mine else None)
        return self._pool

    def close_connections(self) -> None:
        """Close those of the result backend, and forget the pools, which the app's holdings close."""
        self._pool = None
        if "amqp" in self.__dict__:
            self.amqp.forget_pool()
        client = vars(self._backend).get("client") if self._backend is not None else None
        if (pool := getattr(client, "connection_pool", None)) is not None:
            pool.disconnect()

    @cached_property
    def enqueuer(self) -> Enqueuer:
        """The short way of a job into the broker, for all that is ordinary."""
        return Enqueuer(self)

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        """The class of results, which is asked for with each job; Celery's own kind of property locks for it."""
        return super().AsyncResult

    def _get_backend(self) -> Any:
        """The result backend, without its subscription to each result when the job is published.

        On Redis that would hang a publish for minutes while the server is frozen. Whoever asks for a result
        (``AsyncResult.get``) is subscribed then, and is told one that was there before; for a result that nobody
        has asked for there is nothing to end when it is forgotten.
        """
        backend = super()._get_backend()
        if type(backend).__module__ == "celery.backends.redis":
            end = backend.remove_pending_result
            backend.on_task_call = lambda producer, task_id: None  # noqa: ARG005 - Celery's own signature
            backend.remove_pending_result = lambda result: (
                end(result) if _awaited(backend, result) else result
            )
        return backend

    def config_from_object(
        self,
        obj: Any,
        silent: bool = False,
        force: bool = False,  # noqa: ARG002 - Celery's signature; it is read at once
        namespace: str | None = None,
    ) -> Any:
        """Take Celery's settings from an object or module, as if they stood in ``NIGHTSHIFT_CELERY``.

        Raises ``ConfigurationError`` for one that is refused.
        """
        if not self.loader.config_from_object(obj, silent=silent):
            return None
        given, self.loader._conf = self.loader.conf, None  # noqa: SLF001 - else Celery would read them too
        prefix = f"{namespace.rstrip('_')}_" if namespace else ""
        names = {key: key.removeprefix(prefix) for key in given if key.startswith(prefix)}
        self.conf.update({name: given[key] for key, name in names.items() if is_meant(name)})
        return self.conf

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """A connection that publishes: it gives up sooner than one that consumes."""
        given = options.pop("transport_options", None) or {}
        options["connect_timeout"] = options.get("connect_timeout") or STEP
        wanted = {**self.runtime.broker.write_options, **given}
        return super().connection_for_write(url, transport_options=wanted, **options)

    def _whole_delay(self, options: dict[str, Any]) -> dict[str, Any]:
        """RabbitMQ delays by whole seconds, at least one: rounded up, so that no job starts early."""
        eta, countdown = options.get("eta"), options.get("countdown")
        if not self.runtime.broker.capabilities.whole_seconds or (eta is None and not countdown):
            return {}
        if eta is not None:
            moment = maybe_make_aware(maybe_iso8601(eta), self.timezone)
            countdown = (moment - utcnow()).total_seconds()
        seconds = math.ceil(max(0.0, float(countdown or 0)))
        return {"eta": None, "countdown": seconds or None}

    @contextmanager
    def _failing_fast(self, headers: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        except (TypeError, ValueError) as exc:
            found = culprit(headers)
            if found is None:
                raise
            raise found from exc
        except self.runtime.broker.errors as exc:
            raise unavailable(exc, self.runtime.broker.url) from exc

    @contextmanager
    def _naming_arguments(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        except EncodeError as exc:
            run = getattr(self._tasks.get(name), "run", None)
            found = unsendable(
                name, run, args, kwargs, options.get("serializer") or self.conf.task_serializer
            )
            if found is None:
                raise
            raise found from exc

    def _tell(
        self,
        name: str,
        options: dict[str, Any],
        queue: str,
        past: dict[str, Any],
        at: datetime,
        args: Any,
        kwargs: Any,
    ) -> None:
        if is_plumbing(name):
            return
        retries = int(options.get("retries") or 0)
        job = JobRef(options["task_id"], name, queue, retries + 1, past.get("request_id"), at)
        due = _due(options, at, self.timezone)
        shown = options.get("argsrepr") or brief(args or ()), options.get("kwargsrepr") or brief(kwargs or {})
        self.runtime.events.emit(JobEnqueued(job, at, *shown, due))


def _due(options: dict[str, Any], at: datetime, timezone: Any) -> datetime | None:
    if options.get("countdown"):
        return at + timedelta(seconds=float(options["countdown"]))
    eta = options.get("eta")
    return maybe_make_aware(maybe_iso8601(eta), timezone) if eta else None


def _awaited(backend: Any, result: Any) -> bool:
    """Whether somebody has asked for ``result``, and waits for it here: only then is it subscribed to."""
    return any(result.id in waiting for waiting in backend._pending_results)  # noqa: SLF001 - Celery's own place
