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

COMPANIONS = "flask_nightshift.worker.companions.Companions"


def settle_memory(**_: Any) -> None:
    """Freeze startup objects (``gc.freeze``): faster collections, and children keep sharing pages with the parent."""
    gc.freeze()


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
