"""``celery worker -B``: Beat in a thread of the worker.

Celery runs Beat in a fork and closes the fork's file descriptors, including those of the worker's open SQLite files.
SQLite's copy in the fork goes on using these descriptors and finds no database. A thread shares them.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.beat import EmbeddedService
from celery.worker import components


class EmbeddedBeat(components.Beat):  # type: ignore[misc,unused-ignore]
    """Celery's bootstep that starts and stops Beat with the worker."""

    def create(self, w: Any) -> Any:
        """Make the thread. Celery refuses it with gevent."""
        super().create(w)
        beat = EmbeddedService(
            w.app, thread=True, schedule_filename=w.schedule_filename, scheduler_cls=w.scheduler
        )

        def tell(sender: Any, **_: Any) -> None:  # Celery sends it only from a process
            if sender is beat.service:
                signals.beat_embedded_init.send(sender=sender)

        signals.beat_init.connect(tell, weak=False)
        w.beat = beat
        return beat


__all__ = ["EmbeddedBeat"]
