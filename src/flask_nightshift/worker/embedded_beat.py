"""``celery worker -B``: Beat in a thread of the worker.

Celery runs it in a fork whose descriptors it closes, also those of the SQLite files that the worker has open; the copy
of SQLite in the fork goes on using their numbers, and finds no database any more. A thread shares them.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.beat import EmbeddedService
from celery.worker import components


class EmbeddedBeat(components.Beat):  # type: ignore[misc,unused-ignore]
    """Celery's step of a worker, which starts and stops Beat with it."""

    def create(self, w: Any) -> Any:
        """Make the thread; Celery's own refusal of gevent holds."""
        super().create(w)
        beat = EmbeddedService(
            w.app, thread=True, schedule_filename=w.schedule_filename, scheduler_cls=w.scheduler
        )

        def tell(sender: Any, **_: Any) -> None:  # Celery sends it from a process only
            if sender is beat.service:
                signals.beat_embedded_init.send(sender=sender)

        signals.beat_init.connect(tell, weak=False)
        w.beat = beat
        return beat


__all__ = ["EmbeddedBeat"]
