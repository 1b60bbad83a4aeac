"""Lends an app other services for the time of a test: broker and history in memory, and no threads.

The app, its tasks and its Celery app stay. So it does not matter when ``init_app`` was called, and who holds what.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from flask import Flask

from .. import logs
from ..app.current import as_current
from ..brokers.memory.broker import MemoryBroker
from ..domain.events import Events, JobSkipped
from ..observe.skipped import Heard
from ..services import Services, current
from .history import URL, MemoryHistory, StillJournal, make_tables
from .outbox import Lost, StillOutbox
from .results import NAME
from .worker import Announcer


@contextmanager
def lent(app: Flask, lost: Lost) -> Iterator[Services]:
    """The services of ``app``, with other contents until the end of the block.

    ``lost`` is told of jobs that waited for a transaction and are not enqueued, and why.
    """
    services = current(app)
    own = _made(services, lost)
    services.exchange(own)  # now ``own`` has what the app had
    try:
        services.events.subscribe(Heard(services, Announcer()), JobSkipped)
        with services.celery.lent(services.broker.celery_settings()), as_current(services.celery):
            yield services
    finally:
        services.holdings.close()
        services.exchange(own)


def _now() -> float:
    return time.time()  # looked up at each call, because a test may replace it


def _made(services: Services, lost: Lost) -> Services:
    settings = replace(
        services.settings,
        broker_url=f"memory://{secrets.token_hex(8)}",
        database_url=URL,
        result_backend=NAME,
    )
    broker, store = MemoryBroker(settings, now=_now), MemoryHistory()
    made = Services(
        app=services.app,
        settings=settings,
        celery=services.celery,
        broker=broker,
        store=store,
        events=Events(),
        journal=StillJournal(store, history=settings.history),
        outboxes=(store,),
        locks=broker.locks(),
        orders=broker.orders(),
        make_tables=make_tables,
        on_dead=services.on_dead,
        tracing=services.tracing,
    )
    made.holdings.outlive()
    made.events.subscribe(logs.observe)
    made.events.subscribe(made.journal, *made.journal.kinds)
    vars(made)["outbox"] = StillOutbox.of(made, lost)
    return made


__all__ = ["lent"]
