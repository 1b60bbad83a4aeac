"""Celery's events, for Flower and exporters: an event that cannot be sent never holds up a job.

A worker sends ``worker-heartbeat`` all the time, seldom, so that monitors see it and ``celery control enable_events``
has something to switch on. Task events are sent with ``-E``, or once they are switched on.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher

HEARTBEAT_SECONDS = 10.0
"""Between two heartbeats of a worker; monitors take it for gone after twice that."""
TRANSPORT_OPTIONS = {"confirm_publish": False}
"""Of the connection that events go by: while RabbitMQ accepts no jobs, it confirms no event either."""
_AGAIN_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_MOST_UNSENT = 10_000


class JobDispatcher(EventDispatcher):
    """Celery's dispatcher, whose caller is a worker's event loop: it connects again once, and not until it succeeds.

    What could not be sent then goes out with a later event; of too many, the oldest are dropped.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._outbound_buffer: deque[Any] = deque(self._outbound_buffer, maxlen=_MOST_UNSENT)

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Send an event; ``fields`` are its, and the options of Celery's method."""
        if fields.get("retry") and fields.get("retry_policy") is None:
            fields["retry_policy"] = _AGAIN_ONCE
        return super().send(type, *args, **fields)


class JobEvents(Events):
    """Celery's events with that dispatcher."""

    dispatcher_cls = JobDispatcher


__all__ = ["HEARTBEAT_SECONDS", "TRANSPORT_OPTIONS", "JobDispatcher", "JobEvents"]
