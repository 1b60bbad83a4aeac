"""Creates the services of an app and connects them: Celery app, broker, store, journal, logging, endpoints."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from celery import _state
from flask import Flask, appcontext_popped, appcontext_pushed

from . import journal, logs, store
from .app import command
from .app import setup as celery_setup
from .app.celery_app import JobCelery
from .brokers import connect
from .brokers.orders import expire_tombstones
from .config import settings as config
from .config.database_url import is_apps, other_of_app
from .config.leftovers import leftovers
from .domain.events import Events, JobCancelled, JobEnqueued, JobExpired, JobSkipped, JobSucceeded
from .domain.job import utcnow
from .observe import unheard
from .observe.skipped import Heard
from .outbox.claimed import ClaimedRows
from .outbox.closing import Closer
from .schedule import entries as schedule
from .services import Helper, Services
from .store.orders import DatabaseOrders
from .text.lines import Line
from .unique import DatabaseLocks
from .web import endpoints as http
from .web.api.mount import mount as mount_api
from .web.dashboard import mount as dashboard
from .worker import boot

logger = logging.getLogger("flask_nightshift.extension")


def build(app: Flask) -> Services:
    """The services of ``app``; raises ``ConfigurationError`` for a wrong setting."""
    settings = config.load(app)
    celery = JobCelery(app.import_name, set_as_current=False)
    database = store.Store(settings.database_url, shared=is_apps(app, settings.database_url))
    broker = connect(settings, app)
    built = Services(
        app=app,
        settings=settings,
        celery=celery,
        broker=broker,
        store=database,
        events=Events(),
        journal=journal.Journal(database, history=settings.history),
        outboxes=(database, *_of_app(app, settings.database_url)),
        locks=broker.locks() or DatabaseLocks(database, ClaimedRows()),
        orders=broker.orders() or DatabaseOrders(database),
    )
    celery.services = built
    celery_setup.configure(celery, built)
    built.events.subscribe(logs.observe)
    built.events.subscribe(built.journal, *built.journal.kinds)
    for other in built.outboxes:
        if other is not database:
            closer = Closer(other)
            built.events.subscribe(closer, JobSucceeded, JobSkipped, JobCancelled, JobExpired)
            built.closers += (closer.put,)
            built.holdings.add(f"closer of the outbox in {other.url}", closer.close)
    built.events.subscribe(unheard.Watch(built), JobEnqueued)
    built.events.subscribe(Heard(built), JobSkipped)
    logs.connect(built)
    for leftover in leftovers(app, settings):
        logger.warning(
            Line("setting.ineffective", str(leftover), setting=leftover.name, where=leftover.where)
        )
    built.helpers += (lambda worker: _bulk_runner(built, worker),)
    boot.install(built)
    register(built, _prune_task(built), {"name": schedule.PRUNE})
    if _state.default_app is None:
        celery.set_default()
    return built


def _of_app(app: Flask, history: str) -> Iterator[store.Store]:
    """The database of the app's own sessions, if it is another one than the history's and can hold an outbox."""
    if (url := other_of_app(app, history)) is not None:
        yield store.Store(url, shared=True)


def register(built: Services, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Make ``function`` a task of the app."""
    # shared=False: otherwise Celery adds this app's task to every app made later, bound to the wrong database
    built.celery.task(**{"shared": False, **celery_setup.attributes(options)})(function)


def attach(app: Flask, built: Services) -> None:
    """Let the app's contexts choose Celery's current app, and add our endpoints and commands to the app."""
    _follow_context(app, built.celery)
    http.register(app, built)
    dashboard.mount(app, built)
    command.add(app)
    mount_api(app, built)


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


def _bulk_runner(built: Services, worker: str) -> Helper:
    from .operations.bulk_runner import Runner  # a web process needs none

    return Runner(built, worker)


def _prune_task(built: Services) -> Callable[[], dict[str, int]]:
    def prune() -> dict[str, int]:
        """Delete history that is older than the retention settings (``NIGHTSHIFT_KEEP_*_DAYS``)."""
        counts = journal.prune(built.store, built.settings, utcnow())
        from .operations import purged  # a web process needs none

        counts["purged"] = purged.mark_rest(built)
        counts["tombstones"] += expire_tombstones(built.orders, utcnow())
        more = {"once": journal.prune_once, "durable": journal.prune_durable}
        return counts | {
            kind: sum(each(store, utcnow()) for store in built.outboxes) for kind, each in more.items()
        }

    return prune


__all__ = ["attach", "build", "register"]
