"""What a consumer does with a message that it cannot run: postpone it, or bury it (invariant 4)."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.exceptions import NotRegistered

from ..brokers.connections import acknowledge
from ..domain.events import JobCancelled
from ..domain.job import Failure, Reason, utcnow
from ..message import headers as message_headers
from ..message.unique import lock_of
from .cancels import Cancels
from .control import ControlledConsumer
from .endings import cancelled, unrunnable
from .inbound import Misshapen
from .settlement import Settlement


class UnrunnableConsumer(ControlledConsumer):
    """Celery's consumer, which discards nothing."""

    settlement: Settlement
    cancels: Cancels

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Bury a message that is no job in any protocol."""
        self.bury(
            message, Reason.INVALID, Misshapen("it has no 'task' header and is not a protocol 1 message")
        )

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Postpone a job whose task is unknown here, because a deploy may be half way."""
        if self._drops_cancelled(message):
            return
        name = (message.headers or {}).get("task")
        if name is None:  # protocol 1 keeps its fields in the body, where we count no postponements
            self.bury(message, Reason.UNKNOWN_TASK, exc)
            return
        failure = Failure.of(NotRegistered(name))
        announce = partial(unrunnable, self, message, Reason.UNKNOWN_TASK, exc)
        self.settlement.postpone(message, message.job_queue, failure, announce)

    def _drops_cancelled(self, message: Any) -> bool:
        """Whether the job was cancelled; if so, settle it: its task may be unknown to all workers."""
        if not self.cancels.known:
            return False
        job = message_headers.ref(message.headers or {}, message.job_queue)
        order = self.cancels.of(job)
        if order is None:
            return False
        lock = lock_of(message.headers)
        if lock is not None:
            self.services.locks.settled(lock)
        acknowledge(message)
        self.cancels.has_ended(job)
        self.services.events.emit(JobCancelled(job, utcnow(), self.hostname, order.why))
        cancelled(self.app, message, order.why)
        return True

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Bury a message that Celery refuses: malformed, or of a content type that is not accepted."""
        self.bury(message, Reason.INVALID, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Bury a message whose body cannot be decoded."""
        if not hasattr(message, "job_queue"):
            message.job_queue = self._queue_of(message)
        self.bury(message, Reason.UNDECODABLE, exc)

    def bury(self, message: Any, reason: Reason, exc: Exception) -> None:
        """Make a dead letter of a message that this worker cannot run; signals and result backend learn of it."""
        queue = getattr(message, "job_queue", "")
        announce = partial(unrunnable, self, message, reason, exc)
        self.settlement.bury(message, queue, reason=reason, failure=Failure.of(exc), on_written=announce)

    def _queue_of(self, message: Any) -> str:
        """The queue that the message came from."""
        info = message.delivery_info or {}
        if isinstance(queue := info.get("queue"), str):  # the lease transport sets it
            return queue
        tag = info.get("consumer_tag")
        if tag is not None and self.task_consumer is not None:
            queue = self.task_consumer.queue_of(tag)
            if queue is not None:
                return str(queue)
        if not info.get("exchange") and info.get("routing_key"):
            return str(info["routing_key"])
        return str(message_headers.history(message.headers).get("queue") or info.get("routing_key") or "")
