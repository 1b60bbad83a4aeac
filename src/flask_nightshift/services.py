"""The services of one Flask app: its settings, broker, store, journal and events.

``app.extensions["nightshift"]`` is a ``Services``. Views, commands and workers get it with ``current()``.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from flask import Flask, current_app

from .background.threads import Threads
from .domain.job import is_celery_internal
from .lifetime.holdings import Holdings
from .text.redaction import Redaction

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from .brokers.base import Broker
    from .brokers.locks import Locks
    from .brokers.orders import OrderBook
    from .config.settings import Settings
    from .dead_letters.notices import Notices, Receiver
    from .domain.events import Events
    from .domain.job import DeadLetter, Failure
    from .journal import Journal
    from .message.arguments import Texts
    from .outbox.outbox import Outbox
    from .outbox.relay import Relay
    from .store import Store
    from .store.ledger import Ended

logger = logging.getLogger("flask_nightshift.runtime")

KEY = "nightshift"
"""The key of the services in ``app.extensions``."""


class Helper(Protocol):
    """A thread that a worker runs."""

    def start(self) -> None:
        """Start it."""

    def wake(self) -> None:
        """Have it look now: somebody has ordered something."""

    def stop(self) -> None:
        """End it."""


class Tracing(Protocol):
    """What reports the jobs of an app as spans (``otel/``)."""

    def broker(self, broker: Broker) -> Broker:
        """``broker``, with a span for each publish."""

    def lost(
        self, request: Mapping[str, Any], queue: str, began: float | None, worker: str, failure: Failure
    ) -> None:
        """Report an attempt whose process was killed; it began at ``began``, in seconds since 1970."""

    def following(self, headers: Mapping[str, Any], call: Callable[[], None]) -> Callable[[], None]:
        """``call``, within the context that a message with ``headers`` carries."""


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
    locks: Locks
    orders: OrderBook
    outboxes: tuple[Store, ...] = ()
    """The databases that may hold rows of the outbox: the history's, and the app's own if that is another one."""
    closers: tuple[Callable[[Sequence[Ended]], object], ...] = ()
    """What closes rows of durable jobs in the databases without history, when their dead letters are stored."""
    make_tables: Callable[[Connection], object] | None = None
    """Makes our tables through a caller's connection if it lacks them; only the test kit does that."""
    result_runner: Any = None
    """Runs jobs for whoever waits for a result; only the test kit has one."""
    helpers: tuple[Callable[[str], Helper], ...] = ()
    """What each worker runs in a thread beside its jobs: made with the worker's name."""
    on_dead: list[Receiver] = field(default_factory=list)
    """The functions of ``jobs.on_dead()``."""
    tracing: Tracing | None = None
    """Set by ``otel.instrument()``."""
    holdings: Holdings = field(default_factory=Holdings)

    def __post_init__(self) -> None:
        for name in (
            "store",
            "broker",
            "journal",
        ):  # the journal is closed first, since it writes to the store
            self.holdings.add(name, getattr(self, name).close)
        for store in self.outboxes:
            if store is not self.store:
                self.holdings.add(f"store of the outbox in {store.url}", store.close)
        self.holdings.close_with(self.app)

    def exchange(self, other: Services) -> None:
        """Exchange all that the two have; whoever refers to one of them goes on with what it has then."""
        mine, its = dict(vars(self)), dict(vars(other))
        for services, contents in ((self, its), (other, mine)):
            vars(services).clear()
            vars(services).update(contents)

    @property
    def publishing(self) -> Broker:
        """The broker, for code that publishes jobs: each publish is reported if the app is instrumented."""
        return self.broker if self.tracing is None else self.tracing.broker(self.broker)

    @cached_property
    def outbox(self) -> Outbox:
        """What enqueues jobs with a transaction; made at its first use, because it needs SQLAlchemy's ORM."""
        from .outbox.outbox import Outbox

        celery: Any = weakref.ref(self.celery)
        made = Outbox(
            self.app,
            self.outboxes,
            lambda: celery().publisher.sender,
            self.store,
            self.journal.forget,
            self.journal.keep,
        )
        self.holdings.add("outbox", made.close)
        return made

    @cached_property
    def enqueuing_threads(self) -> Threads:
        """The threads that enqueue jobs for coroutines."""
        made = Threads()
        self.holdings.add("threads that enqueue", made.close)
        return made

    @cached_property
    def notices(self) -> Notices:
        """What tells the functions of ``jobs.on_dead()`` of new dead letters."""
        from .dead_letters.notices import Notices

        app: Any = weakref.ref(self.app)
        made = Notices(
            self.on_dead,
            partial(letter_url, self.app.config, self.settings.dashboard_prefix),
            lambda: app().app_context(),
        )
        self.holdings.add("notices", made.stop)
        return made

    def holds_jobs(self) -> Callable[[Sequence[Any]], None] | None:
        """What takes jobs that wait for the transaction of Flask-SQLAlchemy's session; None if it is in none."""
        return self.outbox.hold if self.outbox.waits() else None

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

    @cached_property
    def redaction(self) -> Redaction:
        """What hides arguments of jobs by their names (``NIGHTSHIFT_REDACT``)."""
        return Redaction(self.settings.redact)

    def texts(self, task: Any) -> Texts:
        """How the arguments of ``task``'s jobs are shown; ``task`` is a task, its name, or None."""
        from .message.arguments import texts_of

        known = self.celery.tasks.get(task) if isinstance(task, str) else task
        return texts_of(self.redaction, known)

    def has_ended(self, outcomes: Sequence[Ended]) -> None:
        """Close the rows of durable jobs, soon, in the databases without history."""
        for close in self.closers:
            close(outcomes)

    def relays(self, worker: str) -> list[Relay]:
        """A relay for each outbox, not started; ``worker`` names who runs them."""
        from .dead_letters import archive
        from .outbox.relay import Relay

        def bury(letter: DeadLetter) -> None:
            known = self.celery.tasks.__contains__
            archive(
                self.store,
                [letter],
                worker=worker,
                texts=self.texts,
                known=known,
                ended=self.has_ended,
                stored=self.notices.tell,
            )

        return [
            Relay(store, self.publishing, self.locks, emit=self.events.emit, bury=bury, name=worker)
            for store in self.outboxes
        ]

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


def letter_url(config: Mapping[str, Any], prefix: str, letter_id: str) -> str | None:
    """The address of a dead letter's page; None without a dashboard, or if Flask's ``config`` names no server."""
    server = config.get("SERVER_NAME")
    if not server or not prefix:
        return None
    root = (config.get("APPLICATION_ROOT") or "/").rstrip("/")
    scheme = config.get("PREFERRED_URL_SCHEME") or "http"
    return f"{scheme}://{server}{root}{prefix}/letters/letter?{urlencode({'letter_id': letter_id})}"


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


__all__ = ["KEY", "Helper", "Services", "current"]
