"""``flask jobs worker --beat`` and ``celery worker -B``: Beat in a thread of the worker.

Celery runs Beat in a fork and closes the fork's file descriptors, including those of the worker's open SQLite files.
SQLite's copy in the fork goes on using these descriptors and finds no database. A thread shares them. It works in every
pool; with gevent it is a greenlet.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import signals
from celery.beat import Service
from celery.worker import components

from ..schedule import entries as schedule

logger = logging.getLogger("flask_nightshift.beat")

LONGEST_PAUSE = 1.0
"""Maximum seconds between two looks at the schedule, so that the worker need not wait long for Beat's end."""
STOP_SECONDS = 8.0
"""Seconds that the worker waits for Beat's end: a publish to a broker that is away takes 3 s, its memory 3 s."""


class EmbeddedBeat(components.Beat):  # type: ignore[misc,unused-ignore]
    """Celery's bootstep that starts and stops Beat with the worker."""

    requires = ("celery.worker.components:Pool",)

    def create(self, w: Any) -> Any:
        """Make the thread; raises ``ConfigurationError`` for an unusable schedule, before the worker starts."""
        schedule.entries(w.app.services)
        w.beat = BeatThread(w.app, w.scheduler, w.schedule_filename)
        return w.beat


class BeatThread(threading.Thread):
    """Runs Celery's service of Beat with the scheduler class ``scheduler``."""

    def __init__(self, app: Any, scheduler: Any, filename: str | None) -> None:
        super().__init__(name="Beat", daemon=True)
        self._app = app
        self._service = Service(
            app,
            max_interval=LONGEST_PAUSE,
            schedule_filename=filename,
            scheduler_cls=scheduler,
            remote_control=False,
        )

    def run(self) -> None:
        """Run Beat until ``stop``; an error that ends it is logged, and the worker goes on."""
        self._app.set_current()
        signals.beat_init.connect(self._tell, weak=False)
        try:
            logger.info("beat.started", extra={"entries": sorted(self._service.scheduler.schedule)})
            self._service.start()
        except Exception:
            logger.exception("beat.failed")
        finally:
            signals.beat_init.disconnect(self._tell)
        logger.info("beat.stopped")

    def stop(self) -> None:
        """End Beat; returns when it has ended, after ``STOP_SECONDS`` at the latest."""
        self._service.stop()
        self.join(STOP_SECONDS)

    def _tell(self, sender: Any, **_: Any) -> None:  # Celery sends it only from a process
        if sender is self._service:
            signals.beat_embedded_init.send(sender=sender)


__all__ = ["BeatThread", "EmbeddedBeat"]
