"""Celery's events, for Flower and exporters: an event that cannot be sent never delays a job.

A worker always sends ``worker-heartbeat``, at long intervals, so that monitors see it and ``celery control
enable_events`` finds it. It sends task events with ``-E``, or once an operator enables them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from celery.app.events import Events
from celery.events import EventDispatcher

HEARTBEAT_SECONDS = 10.0
"""Seconds between two heartbeats of a worker; monitors consider it gone after twice that."""
TRANSPORT_OPTIONS = {"confirm_publish": False}
"""Options of the connection for events. RabbitMQ confirms no event while it accepts no jobs."""
_AGAIN_ONCE = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
_MOST_UNSENT = 10_000


class JobDispatcher(EventDispatcher):
    """Celery's dispatcher, which tries only once to reconnect, because its caller is a worker's event loop.

    Unsent events go out with a later one; beyond a limit, the oldest are dropped.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._outbound_buffer: deque[Any] = deque(self._outbound_buffer, maxlen=_MOST_UNSENT)

    def send(self, type: str, *args: Any, **fields: Any) -> Any:  # noqa: A002 - Celery's name
        """Send an event; ``fields`` are the event's fields and the options of Celery's method."""
        if fields.get("retry") and fields.get("retry_policy") is None:
            fields["retry_policy"] = _AGAIN_ONCE
        return super().send(type, *args, **fields)


def tells_of_tasks(dispatcher: Any) -> bool:
    """Whether a worker's dispatcher sends the events of tasks, and not only those of the worker."""
    return bool(dispatcher and dispatcher.enabled and (not dispatcher.groups or "task" in dispatcher.groups))


class JobEvents(Events):
    """Celery's events with our dispatcher."""

    dispatcher_cls = JobDispatcher


__all__ = ["HEARTBEAT_SECONDS", "TRANSPORT_OPTIONS", "JobDispatcher", "JobEvents", "tells_of_tasks"]
