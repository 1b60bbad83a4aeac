"""The consumer: it checks each message before Celery sees it, and never discards one that cannot run.

Stock Celery rejects an unknown task, acknowledges an undecodable body, and fails on a malformed message. Here
``worker/settlement.py`` postpones it (a deploy may be half way) or buries it with its raw bytes (invariant 4).
A message that is not due yet goes back to the broker (invariant 6).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import monotonic
from types import MethodType
from typing import Any

from kombu.common import ignore_errors
from kombu.exceptions import ContentDisallowed
from vine import promise

from ..brokers.causes import refusal
from ..brokers.connections import ack_log_error
from ..domain.job import Reason
from ..message import headers as message_headers
from ..text.lines import Line, job_fields
from . import monitoring
from .announcer import Announcer
from .cancels import Cancels
from .copies import Copies
from .fence import StartFence
from .inbound import Misshapen, check, hide_arguments, unproven, when_due
from .line import Line as JobLine
from .locking import TogetherLocking
from .loop_end import finish
from .pausing import Pausing
from .pools import pool_of, support_of
from .pools.support import OPEN
from .quarantine import LET_COME, Quarantine
from .request import settled_by_us
from .settlement import Settlement
from .strategy import Strategy
from .unrunnable import UnrunnableConsumer

logger = logging.getLogger(__name__)

RESOURCE_LOCKED = 405
"""RabbitMQ's reply code if another connection owns an exclusive queue, here the remote control queue of a worker."""


class JobConsumer(UnrunnableConsumer):
    """Celery's consumer, with our settlement for every message that does not become an attempt."""

    _strategy: Strategy | None = None
    _crashed = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.services = self.app.services
        self.settlement = self.app.settlement = Settlement(
            self.services, self.hostname, self.timer.call_after
        )
        if not self.services.broker.capabilities.holds_locks and getattr(self.pool, "calls_in_loop", False):
            self.settlement.locks = TogetherLocking(self.services.locks, self)
        self.settlement.start = self.controller._process_task  # noqa: SLF001 - it has no public name
        self.app.announcer = Announcer()
        self.line = self.app.line = JobLine(self)
        self.cancels = self.app.cancels = Cancels(self)
        self.controller.orders.subscribe(self.cancels.heard)
        self.copies = Copies(self)
        self.pausing = Pausing(self, self.controller.orders)
        self._pool_support = support_of(pool_of(type(self.pool)).name)
        self.loop_at = monotonic()
        """When the consumer's event loop last turned, on the monotonic clock."""

    # -- the connection ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Consume until the worker stops; after a crash, jobs that had begun count as delivered (invariant 3)."""
        try:
            super().start()
        except Exception as exc:
            self._crashed = True
            if getattr(exc, "reply_code", None) == RESOURCE_LOCKED:
                text = (
                    f"another worker is called {self.hostname}; give each a name of its own: --name mail2@%h"
                )
                logger.critical(Line("worker.name_taken", text))
            if why := refusal(exc):
                logger.critical(Line("worker.refused", why))
            self.line.crash()
            if self.task_consumer is not None and self.task_consumer.channel is not None:
                self.services.broker.worker_ends(self.task_consumer.channel, crashed=True)
            raise

    def connect(self) -> Any:
        """Connect, and declare queues and exchanges before the first message is taken."""
        connection = super().connect()
        window = self.line.window if self.line.look_ahead_by_time() else None
        self.services.broker.worker_begins(
            connection,
            int(self.pool.num_processes or 1),
            window,
            blocks_loop=pool_of(type(self.pool)).blocks_loop,
        )
        self.settlement.fence = StartFence(connection.get_heartbeat_interval() or 0)
        self.settlement.resume()
        with self.app.connection_for_write() as setup:
            self.services.broker.prepare(setup, [*self.app.amqp.queues.values(), *self._quarantine_queues()])
        self.pausing.connected()
        self._pool_support.guard(self.pool, self._starts_until)
        self._pool_support.keep_alive(self.pool, connection, self.settlement.fence)
        return connection

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, again and again if need be; time limits of running jobs hold meanwhile."""
        ensure = conn.ensure_connection

        def watching(errback: Any, retries: Any, callback: Callable[[], Any]) -> Any:
            def wait() -> None:  # kombu calls it before each second that it waits
                callback()
                self._pool_support.watch(self.pool)

            return ensure(errback, retries, callback=wait)

        conn.ensure_connection = watching
        return super().ensure_connected(conn)

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """The connection for Celery's events; jobs are published over others."""
        options = monitoring.TRANSPORT_OPTIONS
        return self.ensure_connected(
            self.app.connection_for_write(url, heartbeat=heartbeat, transport_options=options)
        )

    def register_with_event_loop(self, hub: Any) -> None:
        """Have the event loop record each turn and check the connection."""
        super().register_with_event_loop(hub)
        hub.on_close.add(finish)
        hub.call_repeatedly(1.0, self._pulse)
        hub.call_repeatedly(1.0, self._check_connection)

    def perform_pending_operations(self) -> None:
        """Record a turn; pools without an event loop call this in each turn of theirs."""
        self._pulse()
        super().perform_pending_operations()

    def _quarantine_queues(self) -> list[Any]:
        found = map(self.services.broker.quarantine_of, self.app.amqp.queues.consume_from.values())
        return [queue for queue in found if queue is not None]

    def on_ready(self) -> None:
        """The worker takes jobs now, and quarantined ones a moment later."""
        super().on_ready()
        if self._quarantine is not None:
            self.timer.call_after(LET_COME, self.call_soon, (self._quarantine.begin,))

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge in the next turn of the loop; at once where the next job would block it."""
        if pool_of(type(self.pool)).blocks_loop:
            return p(*args, **kwargs)
        return super().call_soon_ack(p, *args, **kwargs)

    def job_has_ended(self) -> None:
        """A job that blocked the event loop has ended. Its acknowledgement will make RabbitMQ send the next one."""
        self.pausing.apply()

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Have the event loop make the call in its next turn.

        Celery's loop for greenlets makes calls only between two events, which may be seconds apart. There a greenlet
        of its own makes the call.
        """
        if self.pool.is_green and self.hub is None:
            self.timer.call_after(0, call, args)
        else:
            self.call_soon(call, *args)

    def stop(self) -> None:
        """The worker stops: jobs that have not begun go back now, and do not wait for those that run.

        After a crash the end of the channel returns them, and counts the one that may have caused it (invariant 3).
        """
        self.pausing.ends()
        if not self._crashed:
            if self.task_consumer is not None:  # or RabbitMQ would deliver them here again
                ignore_errors(self.connection, self.task_consumer.cancel)
            self.line.close()
        super().stop()

    def leave(self) -> None:
        """The worker has stopped, and its connection is about to close."""
        self.copies.stop()
        self.settlement.locks.finish()
        self.cancels.stop()
        if self._quarantine is not None:
            self._quarantine.leave()

    def on_close(self) -> None:
        """The connection is lost: the broker delivers its messages again, so drop their waiting transitions."""
        if self._quarantine is not None:
            self._quarantine.end()
        self.pausing.ends()
        self.settlement.drop()
        super().on_close()

    def _pulse(self) -> None:
        self.loop_at = monotonic()
        self.settlement.fence.pulse()
        self.line.adjust_soon()  # also after a time in which no job has ended

    def _check_connection(self) -> None:
        """Raise if the jobs' connection is closed and Celery has not noticed.

        Celery reads from RabbitMQ once before its loop begins and ignores errors of that read (``_quick_drain``), so
        the worker would wait on a closed connection for a minute. If the broker closed it before that read, kombu opens
        a new connection, without consumers, and the worker would wait for ever.
        """
        if self.connection is None or self.task_consumer is None:
            return
        if self.task_consumer.channel.connection is None or not self.connection.connected:
            raise ConnectionError("the broker closed the connection as the event loop began")

    def update_strategies(self) -> None:
        """Settle the jobs of every task by our code, also if the task has its own request class."""
        for task in self.app.tasks.values():
            task.Request = settled_by_us(task.Request)
        super().update_strategies()
        if self._strategy is not None:
            self._strategy.update()

    def _starts_until(self) -> int:
        """The moment until which what waits in the pool may start: then others may have it (``pools.shared.fence``)."""
        consumer = self.task_consumer
        if consumer is None or consumer.channel is None:
            return 0
        channel = consumer.channel
        until = min(self.services.broker.ours_until(channel), self.settlement.fence.until(channel))
        return int(until * 1e9) if until < math.inf else OPEN

    @property
    def quarantine(self) -> Quarantine | None:
        """The quarantine of this connection."""
        return self._quarantine

    @property
    def holds_suspect(self) -> bool:
        """Whether it holds a quarantined job."""
        return self._quarantine is not None and self._quarantine.holds_one

    def pause_suspects(self) -> None:
        """Take no quarantined job until ``resume_suspects``."""
        if self._quarantine is not None:
            self._quarantine.pause()

    def resume_suspects(self) -> None:
        """Take quarantined jobs again."""
        if self._quarantine is not None:
            self._quarantine.resume()

    # -- messages ------------------------------------------------------------------------------------------

    def create_task_handler(self, promise: Any = promise) -> Callable[[Any], Any]:
        """Celery's message handler, after our check of the message."""
        celerys = super().create_task_handler(promise)
        quarantine = self._quarantine = Quarantine(self, self.task_consumer.queues)
        self.pausing.begins()
        strategy = self._strategy = Strategy(self, self.on_task_message)

        def accept(message: Any) -> Any:
            if type(message).ack_log_error is not ack_log_error:  # of kombu's own channel
                # only here: it is a cycle, and what the garbage collector has yet to find adds up to 10 MiB
                message.ack_log_error = MethodType(ack_log_error, message)
            return celerys(message)

        def on_task_received(message: Any) -> Any:
            try:
                return receive(message)
            except self.services.broker.errors:
                raise
            except Exception as exc:  # no message may stop the worker
                if message.acknowledged:
                    job = message_headers.ref(message.headers or {}, self._queue_of(message))
                    text = "the job was settled, and failed in the worker after that"
                    logger.exception(Line("job.settled_with_errors", text, **job_fields(job)))
                    return None
                return self.bury(message, Reason.INVALID, exc)

        def receive(message: Any) -> Any:
            if not hasattr(message, "job_queue"):
                message.job_queue = self._queue_of(message)
            if quarantine.wants(message):  # before anything else
                return quarantine.put(message)
            try:
                check(message)
            except ContentDisallowed as exc:
                return self.bury(message, Reason.INVALID, exc)
            except Misshapen as exc:
                return self.bury(message, Reason.INVALID, exc)
            except Exception as exc:  # noqa: BLE001 - decoding may raise anything; we keep the bytes
                return self.bury(message, Reason.UNDECODABLE, exc)
            if message_headers.HISTORY not in message.headers:
                hide_arguments(message, self.services.texts)
            due = when_due(message, self.services.broker.capabilities.keeps_delays)
            if due is not None:
                return self.settlement.defer(message, message.job_queue, due)
            if self.copies.wants(message):
                return self.copies.put(message)
            self.line.arrived(message)
            if unproven(message):
                return self.line.first(lambda: accept(message))
            if "task" in message.headers and not strategy.refusal(message):
                return strategy.take(message)
            return accept(message)

        self.receive = on_task_received
        return on_task_received
