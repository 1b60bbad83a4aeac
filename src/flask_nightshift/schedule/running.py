"""Runs Beat in a process of its own, until a signal ends it between two ticks."""

from __future__ import annotations

import functools
import logging
import queue
import signal
from typing import Any

from celery.beat import Service

from ..brokers import require_shared
from ..services import Services
from . import entries as schedule
from .scheduler import JobScheduler

logger = logging.getLogger("flask_nightshift.beat")


class StoppableScheduler(JobScheduler):
    """Waits between ticks itself, so that what arrives in ``stopping`` interrupts the wait and never a tick."""

    def __init__(self, stopping: queue.SimpleQueue[int], **options: Any) -> None:
        self._stopping = stopping
        super().__init__(**options)

    def tick(self, *_: Any, **__: Any) -> float:
        """Enqueue due jobs and wait until another one may be due."""
        try:
            self._stopping.get(timeout=super().tick())
        except queue.Empty:
            return 0.0
        raise SystemExit(0)  # Celery's service closes this scheduler and ends


def run(services: Services) -> None:
    """Run Beat in this process until SIGTERM or SIGINT; raises ``ConfigurationError`` for an unusable schedule."""
    require_shared(services.broker)
    app = services.celery
    app.set_default()
    app.loader.import_default_modules()
    schedule.entries(services)  # refuse a wrong schedule before anything starts
    app.log.setup(services.settings.log_level)
    stopping: queue.SimpleQueue[int] = queue.SimpleQueue()  # unlike an Event, safe in a signal handler
    service = Service(app, scheduler_cls=functools.partial(StoppableScheduler, stopping))
    names = sorted(service.scheduler.schedule)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.put(number))
    logger.info("beat.started", extra={"entries": names})
    service.start()
    services.journal.close()
    logger.info("beat.stopped")


__all__ = ["StoppableScheduler", "run"]
