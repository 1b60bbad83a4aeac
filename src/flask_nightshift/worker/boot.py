"""Installs our parts in the workers of an app: a bootstep, and what a new child process does first.

They are installed through Celery's blueprint and signals, so ``celery -A … worker`` has them as well as ``flask jobs
worker``. Celery imports the bootstep by its name, in a worker.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from celery import signals

from ..services import Services
from ..task.coroutines import close_loops

COMPANIONS = "flask_nightshift.worker.companions.Companions"
YOUNG = 20_000
"""New objects after which a main process collects garbage, if its jobs run in children."""


def settle_memory(**_: Any) -> None:
    """Freeze startup objects (``gc.freeze``): faster collections, and children keep sharing pages with the parent."""
    gc.freeze()
    if _usual:
        gc.set_threshold(*_usual.pop())


def collect_seldom() -> None:
    """In a main process whose jobs run in children: collect garbage less often; the children do it as usual.

    What it allocates for each job is freed without the collector, whose looks at all jobs in hand take 7 % of its time.
    """
    usual = gc.get_threshold()
    if 0 < usual[0] < YOUNG:
        _usual[:] = [usual]
        gc.set_threshold(YOUNG, *usual[1:])


_usual: list[tuple[int, int, int]] = []
"""The thresholds that ``collect_seldom`` has changed."""
_installed: weakref.WeakSet[Services] = weakref.WeakSet()


def _dispose_inherited(**_: Any) -> None:
    for services in list(_installed):
        dispose_inherited_engines(services)


def install(services: Services) -> None:
    """Add our parts to every worker of this Celery app."""
    services.celery.steps["worker"].add(COMPANIONS)
    _installed.add(services)
    signals.worker_process_init.connect(_dispose_inherited, weak=False, dispatch_uid=f"{__name__}.dispose")
    signals.worker_process_init.connect(settle_memory, weak=False, dispatch_uid=f"{__name__}.settle_memory")
    for end in (signals.worker_process_shutdown, signals.worker_shutdown):
        end.connect(close_loops, weak=False, dispatch_uid=f"{__name__}.close_loops")


def dispose_inherited_engines(services: Services) -> None:
    """In a new child process: drop database connections that were opened before the fork.

    Two processes on one connection corrupt each other's transactions. Flask-SQLAlchemy's engines are the only ones
    that we know of.
    """
    database = services.app.extensions.get("sqlalchemy")
    if database is None:
        return
    with services.app.app_context():
        for engine in database.engines.values():
            engine.dispose(close=False)
