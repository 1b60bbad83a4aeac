"""The short way of an ordinary message from the consumer to the pool.

Celery's way leads through its strategy, which serves events, signals, rate limits and delays. An ordinary message needs
none of them. What does goes Celery's way; both ways end at ``JobRequest.execute_using_pool``. Whether a message is
ordinary is looked at for each message, because receivers are connected and events are enabled at any time.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import signals
from celery.app.trace import LOG_RECEIVED
from celery.worker import strategy as celerys
from celery.worker.request import create_request_cls
from celery.worker.state import revoked, task_reserved

from ..brokers.connections import ack_log_error, acknowledge
from .monitoring import tells_of_tasks
from .request import JobRequest

DEFAULT = "celery.worker.strategy:default"
"""The strategy of every task, unless its author names another one."""


class Strategy:
    """The short way of one connection of a worker's ``consumer``; ``callbacks`` are told of each job, by Celery."""

    def __init__(self, consumer: Any, callbacks: Any) -> None:
        self._consumer = consumer
        self._callbacks = callbacks
        self._controller = consumer.controller
        self._ends_here = getattr(consumer.pool, "calls_in_loop", False)
        line = celerys.logger.makeRecord(
            celerys.logger.name, logging.INFO, "", 0, LOG_RECEIVED, ({"name": "", "id": ""},), None
        )
        self._is_logged = bool(celerys.logger.filter(line))
        """Whether Celery's line about each job is seen; our own lines say more (``logs/setup.py``)."""
        self._makers: dict[str, Any] = {}
        self.update()

    def update(self) -> None:
        """Look at the tasks anew, as Celery does after ``pool_restart`` has loaded modules again."""
        self._makers = {
            name: self._maker(task)
            for name, task in self._consumer.app.tasks.items()
            if task.Request is JobRequest and task.Strategy == DEFAULT
        }

    def refusal(self, message: Any) -> str:
        """Why ``message``, which has passed ``inbound.check``, must go Celery's way; empty if it need not."""
        headers, consumer = message.headers, self._consumer
        task = headers.get("task")
        if task not in self._makers:
            return "the task is unknown, or has a strategy or a request class of its own"
        if headers.get("eta") or headers.get("expires"):
            return "it has an eta or expires"
        if not isinstance(message.payload, (list, tuple)):
            return "it is not of protocol 2"
        if consumer.task_buckets[task] is not None:
            return "the task has a rate limit"
        if tells_of_tasks(consumer.event_dispatcher):
            return "events are enabled"
        if signals.task_received.receivers:
            return "the signal task_received has receivers"
        if headers["id"] in revoked:
            return "the job was revoked"
        if self._callbacks:
            return "Celery's callbacks are told of each job"
        if self._is_logged and celerys.logger.isEnabledFor(logging.INFO):
            return "Celery logs each job"
        if not consumer._maximum_prefetch_restored:  # noqa: SLF001 - it has no public name
            return "Celery may restore its prefetch count after a lost connection"
        return ""

    def take(self, message: Any) -> None:
        """Hand an ordinary message to the pool, or have it wait for a free place there."""
        make = self._makers[message.headers["task"]]
        request = make(
            message,
            on_ack=partial(acknowledge, message) if self._ends_here else self._ack_soon(message),
            on_reject=message.reject_log_error,
            body=message.body,
            headers=message.headers,
        )
        task_reserved(request)
        self._controller.process_task(request)

    def _ack_soon(self, message: Any) -> Any:
        """As Celery does: the loop acknowledges, because this may be called in another thread."""
        return partial(self._consumer.call_soon_ack, partial(ack_log_error, message))

    def _maker(self, task: Any) -> Any:
        consumer, app = self._consumer, self._consumer.app
        kind = create_request_cls(
            task.Request, task, consumer.pool, consumer.hostname, consumer.event_dispatcher, app=app
        )
        return partial(
            kind,
            app=app,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            task=task,
            connection_errors=consumer.connection_errors,
            decoded=False,
            utc=app.uses_utc_timezone(),
        )


__all__ = ["Strategy"]
