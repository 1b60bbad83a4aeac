"""The consumer: what arrives is checked before Celery sees it, and what cannot be run is never discarded.

Stock Celery rejects an unknown task, acknowledges an undecodable body, and trips over a misshapen one. Here
each goes to ``worker/settlement.py``: put off for a while (a deploy may be half way), or buried with its raw
bytes (invariant 4). A message whose time has not come goes back to the broker (invariant 6).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic
from types import MethodType
from typing import Any

from celery.exceptions import NotRegistered
from kombu.exceptions import ContentDisallowed
from vine import promise

from ..brokers.connections import ack_log_error
from ..domain.job import Failure, Reason
from ..message import headers as message_headers
from ..text.lines import Line, job_fields
from . import monitoring
from .announcer import Announcer
from .aside import LET_COME, Aside
from .control import ControlledConsumer
from .endings import unrunnable
from .fence import StartFence
from .inbound import Misshapen, check, unproven, when_due
from .pools import pool_of, support_of
from .request import settled_by_us
from .settlement import Settlement

logger = logging.getLogger(__name__)

RESOURCE_LOCKED = 405
"""What RabbitMQ says to who wants another connection's exclusive queue: that of a worker's remote control."""


class JobConsumer(ControlledConsumer):
    """Celery's consumer with our settlement for everything that is not an ordinary attempt."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.services = self.app.services
        self.settlement = self.app.settlement = Settlement(
            self.services, self.hostname, self.timer.call_after
        )
        self.settlement.start = self.controller._process_task  # noqa: SLF001 - it has no public name
        self.app.announcer = Announcer()
        self._pool_support = support_of(pool_of(type(self.pool)).name)
        self.loop_at = monotonic()
        """When the consumer's loop last turned, on the monotonic clock: the worker's pulse."""

    # -- the connection ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Consume until the worker stops; after a crash, what had begun counts as delivered (invariant 3)."""
        try:
            super().start()
        except Exception as exc:
            if getattr(exc, "reply_code", None) == RESOURCE_LOCKED:
                text = (
                    f"another worker is called {self.hostname}; give each a name of its own: --name mail2@%h"
                )
                logger.critical(Line("worker.name_taken", text))
            if self.task_consumer is not None and self.task_consumer.channel is not None:
                self.services.broker.worker_ends(self.task_consumer.channel, crashed=True)
            raise

    def connect(self) -> Any:
        """Connect; what must exist in the broker is declared before the first message is taken."""
        connection = super().connect()
        self.services.broker.worker_begins(connection, int(self.pool.num_processes or 1))
        self.settlement.fence = StartFence(connection.get_heartbeat_interval() or 0)
        self.settlement.resume()
        with self.app.connection_for_write() as side:
            self.services.broker.prepare(side, [*self.app.amqp.queues.values(), *self._asides()])
        self._pool_support.keep_alive(self.pool, connection, self.settlement.fence)
        return connection

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """The connection that Celery's events go by; jobs are published over others."""
        options = monitoring.TRANSPORT_OPTIONS
        return self.ensure_connected(
            self.app.connection_for_write(url, heartbeat=heartbeat, transport_options=options)
        )

    def register_with_event_loop(self, hub: Any) -> None:
        """Have the event loop show that it turns, and look after the connection."""
        super().register_with_event_loop(hub)
        hub.call_repeatedly(1.0, self._pulse)
        hub.call_repeatedly(1.0, self._check_connection)

    def perform_pending_operations(self) -> None:
        """Called by the loop of the pools without an event loop at every turn."""
        self._pulse()
        super().perform_pending_operations()

    def _asides(self) -> list[Any]:
        found = map(self.services.broker.aside, self.app.amqp.queues.consume_from.values())
        return [queue for queue in found if queue is not None]

    def on_ready(self) -> None:
        """Jobs are taken now; those that may end their worker a moment later."""
        super().on_ready()
        if self._aside is not None:
            self.timer.call_after(LET_COME, self.call_soon, (self._aside.begin,))

    def leave(self) -> None:
        """The worker has stopped, and its connection is about to be closed."""
        if self._aside is not None:
            self._aside.leave()

    def on_close(self) -> None:
        """The connection is lost: its messages come back, so forget what was to become of them."""
        if self._aside is not None:
            self._aside.end()
        self.settlement.drop()
        with self._pool_support.keep_received(self.pool):
            super().on_close()

    def _pulse(self) -> None:
        self.loop_at = monotonic()
        self.settlement.fence.pulse()

    def _check_connection(self) -> None:
        """Raise if the connection that the jobs come by is gone and nobody noticed.

        Celery reads from RabbitMQ once before its loop begins, and drops what goes wrong then (``_quick_drain``); the
        worker would wait on a closed connection for a minute. Where the broker closed it before that read, kombu
        connects anew to read, by a connection without consumers: the worker would wait for ever.
        """
        if self.connection is None or self.task_consumer is None:
            return
        if self.task_consumer.channel.connection is None or not self.connection.connected:
            raise ConnectionError("the broker closed the connection as the event loop began")

    def update_strategies(self) -> None:
        """Have each task's jobs settled by us, also where the task has a request class of its own."""
        for task in self.app.tasks.values():
            task.Request = settled_by_us(task.Request)
        super().update_strategies()

    # -- messages ------------------------------------------------------------------------------------------

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], Any]:
        """Celery's handler behind a check of the message."""
        accept = super().create_task_handler(promise)
        aside = self._aside = Aside(self, self.task_consumer.queues)

        def on_task_received(message: Any) -> Any:
            try:
                return receive(message)
            except self.services.broker.errors:
                raise
            except Exception as exc:  # whatever is wrong with a message, the worker lives on
                if message.acknowledged:
                    job = message_headers.ref(message.headers or {}, self._queue_of(message))
                    text = "the job was settled, and failed in the worker after that"
                    logger.exception(Line("job.settled_with_errors", text, **job_fields(job)))
                    return None
                return self.bury(message, Reason.INVALID, exc)

        def receive(message: Any) -> Any:
            if not hasattr(message, "job_queue"):
                message.job_queue = self._queue_of(message)
            message.ack_log_error = MethodType(ack_log_error, message)
            if aside.wants(message):  # before anything is done with it
                return aside.put(message)
            try:
                check(message)
            except ContentDisallowed as exc:
                return self.bury(message, Reason.INVALID, exc)
            except Misshapen as exc:
                return self.bury(message, Reason.INVALID, exc)
            except Exception as exc:  # noqa: BLE001 - decoding may raise anything; the bytes are kept
                return self.bury(message, Reason.UNDECODABLE, exc)
            due = when_due(message, self.services.broker.capabilities.keeps_delays)
            if due is not None:
                return self.settlement.defer(message, message.job_queue, due)
            if unproven(message):
                return self._first_in_line(lambda: accept(message))
            return accept(message)

        self.receive = on_task_received
        return on_task_received

    def _first_in_line(self, accept: Callable[[], Any]) -> Any:
        """``accept()``; a job that waits for a child after that is the next to get one: it has waited before."""
        line: Any = getattr(self.controller.semaphore, "_waiting", ())
        before = len(line)
        accepted = accept()
        if len(line) > before:
            line.rotate(1)
        return accepted

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """It is no job in any protocol."""
        self.bury(
            message, Reason.INVALID, Misshapen("it has no 'task' header and is not a protocol 1 message")
        )

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """No such task here: a deploy may be half way, so put it off for a while."""
        name = (message.headers or {}).get("task")
        if name is None:  # protocol 1: its fields are in the body, where we do not count postponements
            self.bury(message, Reason.UNKNOWN_TASK, exc)
            return
        failure = Failure.of(NotRegistered(name))
        told = partial(unrunnable, self, message, Reason.UNKNOWN_TASK, exc)
        self.settlement.postpone(message, message.job_queue, failure, told)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Celery will not have it: wrong shape, or a content type that is not accepted."""
        self.bury(message, Reason.INVALID, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Its bytes cannot be read."""
        if not hasattr(message, "job_queue"):
            message.job_queue = self._queue_of(message)
        self.bury(message, Reason.UNDECODABLE, exc)

    def bury(self, message: Any, reason: Reason, exc: Exception) -> None:
        """Make a dead letter of a message that this worker cannot run, and tell who wants to know."""
        queue = getattr(message, "job_queue", "")
        told = partial(unrunnable, self, message, reason, exc)
        self.settlement.bury(message, queue, reason=reason, failure=Failure.of(exc), on_written=told)

    def _queue_of(self, message: Any) -> str:
        """The queue that the message came from."""
        info = message.delivery_info or {}
        if isinstance(queue := info.get("queue"), str):  # the lease transport says it
            return queue
        tag = info.get("consumer_tag")
        if tag is not None and self.task_consumer is not None:
            for queue, its_tag in self.task_consumer._active_tags.items():  # noqa: SLF001 - kombu keeps no other map
                if its_tag == tag:
                    return str(queue)
        if not info.get("exchange") and info.get("routing_key"):
            return str(info["routing_key"])
        return str(message_headers.history(message.headers).get("queue") or info.get("routing_key") or "")
