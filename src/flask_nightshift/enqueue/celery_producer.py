"""The wire for jobs that need Celery's own producer.

Examples are a job with its own exchange, with stamps, with a given producer, with a task-sent event, or of a task that
this process does not know. ``Celery.send_task`` makes the message, so tools that wrap it (such as Sentry) see the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from celery import Celery

from ..brokers.base import Broker
from ..domain.job import utcnow
from .call import Call
from .destination import Destination
from .publish_signals import KeepingProducer, wanted


class CeleryProducer:
    """Publishes through Celery's producer; ``Broker.send`` first declares the queue, and limits the time."""

    def __init__(self, app: Celery, broker: Broker, send_task: Callable[..., Any]) -> None:
        self._app = app
        self._broker = broker
        self._send_task = send_task

    def publish(self, call: Call, job_id: str, to: Destination, headers: dict[str, Any]) -> Any:
        """Publish the job with these ``headers``; returns its ``AsyncResult``."""
        options = {**call.cleared(), **call.options, "task_id": job_id, "headers": headers}
        options = self._delayed(call, to, {**options, **self._broker.publish_options})
        needed = {**headers, "id": job_id, "task": call.name}
        with self._app.producer_or_acquire(options.pop("producer", None)) as producer:

            def publish() -> Any:
                kept = KeepingProducer(producer, needed) if wanted() else producer
                return self._send_task(call.name, call.args, call.kwargs, producer=kept, **options)

            return self._broker.send(producer, to.queue, publish)

    def _delayed(self, call: Call, to: Destination, options: dict[str, Any]) -> dict[str, Any]:
        """``options`` that delay the job until it is due; whole seconds are rounded up, so no job starts early."""
        if call.due is None:
            return options
        if not self._broker.capabilities.whole_seconds:
            return {**options, "eta": call.due}
        seconds = math.ceil((call.due - utcnow()).total_seconds())
        if seconds <= 0:
            return options
        return to.delayed(options, self._broker.delayed_address(to.only_queue(), seconds), seconds)


__all__ = ["CeleryProducer"]
