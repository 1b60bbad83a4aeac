"""A quarantine for jobs that may have killed their worker, on a broker that cannot tell which deliveries began.

RabbitMQ counts how often a message came back, also one that the worker only received. So every message that comes back
first moves to the quarantine queue of its queue (``Broker.quarantine_of``). From there a worker takes one job at a
time and settles it before it takes the next. A message that comes back from the *quarantine queue* had begun, so it is
counted; at ``NIGHTSHIFT_DELIVERY_LIMIT`` it is buried (invariant 3). Ordinary jobs run beside it. An ordinary job that
dies with the worker moves to quarantine too, and never again runs beside another quarantined job. So only the job that
kills its workers reaches the limit, however many others died with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from time import monotonic
from typing import Any, Protocol

from billiard.exceptions import WorkerLostError

from ..domain.job import Reason
from ..message import headers as message_headers
from ..message.envelope import envelope_of
from ..services import Services
from .settlement import Settlement
from .transition import Transition

LET_COME = 1.0
"""Seconds from connecting until the first quarantined job is taken. By then the messages of a dead worker are in
quarantine and cannot come back once more.
"""
QUIET = 0.2
"""Seconds from this worker's last write to a quarantine queue until it takes a quarantined job. If that job killed the
worker before the other's original was acknowledged, both the original and its copy would remain.
"""


class Owner(Protocol):
    """The part of the worker's consumer that the quarantine uses."""

    connection: Any
    task_consumer: Any
    timer: Any
    services: Services
    settlement: Settlement
    receive: Callable[[Any], Any]

    def call_soon(self, call: Callable[..., Any], *args: Any) -> Any:
        """Have the event loop make the call in its next turn."""

    def bury(self, message: Any, reason: Reason, exc: Exception) -> None:
        """Make a dead letter of a message."""


class Quarantine:
    """The quarantine of one connection of ``consumer``, which consumes ``queues`` (``kombu.Queue``).

    After the start it never waits for the broker's answer, because a frozen broker would stop the worker's event loop.
    """

    def __init__(self, consumer: Owner, queues: Any) -> None:
        self._owner = consumer
        broker = consumer.services.broker
        found = {queue.name: broker.quarantine_of(queue) for queue in queues}
        self.queues = {name: queue for name, queue in found.items() if queue is not None}
        self._job_queue = {queue.name: name for name, queue in self.queues.items()}
        self._limit = max(consumer.services.settings.delivery_limit, 1)
        self._channel: Any = self._open() if self.queues else None
        self._consuming: set[str] = set()
        self._begun = False
        self._put_at = 0.0
        self._current: Any = None
        self._paused = False
        self._left_out: Set[str] = frozenset()
        self._others: list[Any] = []
        self._over = False

    @property
    def holds_one(self) -> bool:
        """Whether it holds a job."""
        return self._current is not None

    # -- messages that come back to an ordinary queue --------------------------------------------------------------

    def wants(self, message: Any) -> bool:
        """Whether ``message`` was delivered before and must go to quarantine."""
        if message.job_queue not in self.queues or getattr(message, "quarantined", False):
            return False
        return message_headers.deliveries(message.headers, redelivered=_redelivered(message)) > 0

    def put(self, message: Any) -> None:
        """Move a message that came back to quarantine, counted as one start, because it may have begun.

        With a limit of one delivery it is counted as none: a job that never began must not be buried.
        """
        self._write(message, int(self._limit > 1))
        self._put_at = monotonic()

    def _write(self, message: Any, count: int) -> None:
        headers = {**message_headers.job_headers(message.headers), message_headers.DELIVERIES: count}
        queue = self.queues[message.job_queue].name
        job = message_headers.ref(headers, message.job_queue)
        self._owner.settlement.write(
            Transition(message, envelope_of(message, headers), queue, None, job, lambda: None)
        )

    # -- jobs from quarantine ----------------------------------------------------------------------------------

    def _open(self) -> Any:
        channel = self._owner.connection.channel()
        channel.basic_qos(0, 1, False)  # for each queue
        return channel

    def begin(self) -> None:
        """Start to consume the quarantine queues."""
        self._begun = True
        self._consume()

    def pause(self) -> None:
        """All children are busy: a job in hand may go back, and no other is taken until ``resume``.

        A consumer that has a job gets no other, so nothing is on its way to it; that would count as delivered.
        """
        if self._current is not None:
            self._paused = True
            self._cancel(set(self._consuming))

    def resume(self) -> None:
        """A child may be free."""
        if self._paused:
            self._paused = False
            if self._current is None:
                self._consume()

    def leave_out(self, paused: Set[str]) -> None:
        """Take no job that belongs to these queues, and those of all others; a job in hand ends."""
        self._left_out = paused
        self._cancel({self.queues[name].name for name in paused & self.queues.keys()} & self._consuming)
        if self._current is None:
            self._consume()

    def _consume(self) -> None:
        if self._over or self._paused or not self._begun:
            return
        for name, queue in self.queues.items():
            if queue.name not in self._consuming and name not in self._left_out:
                queue.bind(self._channel).consume(queue.name, self._delivered, no_ack=False, nowait=True)
                self._consuming.add(queue.name)

    def _cancel(self, names: set[str]) -> None:
        for name in names:
            self._channel.basic_cancel(name, nowait=True)
        self._consuming -= names

    def _delivered(self, raw: Any) -> None:
        message = self._channel.message_to_python(raw)
        message.accept = self._owner.task_consumer.accept
        self._arrived(message)

    def add(self, queue: Any) -> None:
        """The consumer has added ``queue``."""
        quarantine = self._owner.services.broker.quarantine_of(queue)
        if quarantine is None or queue.name in self.queues:
            return
        if self._channel is None:
            self._channel = self._open()
        quarantine.bind(self._channel).declare()
        self.queues[queue.name] = quarantine
        self._job_queue[quarantine.name] = queue.name
        if self._current is None:
            self._consume()

    def remove(self, name: str) -> None:
        """The consumer has cancelled the queue of that name."""
        quarantine = self.queues.pop(name, None)
        if quarantine is not None:
            self._cancel({quarantine.name} & self._consuming)

    def _arrived(self, message: Any) -> None:
        message.quarantined = True
        message.job_queue = self._job_queue[message.delivery_info["routing_key"]]
        if self._current is not None or message.job_queue in self._left_out:
            self._others.append(message)  # it was already on its way
            if self._current is None:
                self._put_others_back()
            return
        self._current = message
        if len(self.queues) > 1:
            self._cancel(set(self._consuming))
        self._put_others_back()
        self._when_settled(message)
        self._take(message)

    def _take(self, message: Any) -> None:
        if self._over or message is not self._current:
            return
        wait = self._put_at + QUIET - monotonic()
        if wait > 0:
            self._owner.timer.call_after(wait, self._owner.call_soon, (self._take, message))
            return
        count = message_headers.deliveries(message.headers, redelivered=_redelivered(message))
        if count >= max(self._limit, 1):
            exc = WorkerLostError(f"delivered {count} times, and never settled")
            self._owner.bury(message, Reason.DELIVERY_LIMIT, exc)
            return
        message.headers.pop(message_headers.DELIVERIES, None)
        message.headers["x-delivery-count"] = count
        message.delivery_info["redelivered"] = (
            True  # for the task: the broker does not know it of the moved message
        )
        self._owner.receive(message)

    def _put_others_back(self) -> None:
        others, self._others = self._others, []
        for other in others:
            self._write(other, message_headers.deliveries(other.headers, redelivered=_redelivered(other)))

    def _when_settled(self, message: Any) -> None:
        """Take the next job once any thread has acknowledged or rejected ``message``."""

        def then(settle: Callable[..., Any]) -> Callable[..., Any]:
            def settled(*args: Any, **options: Any) -> None:
                settle(*args, **options)
                self._owner.call_soon(self._next, message)

            return settled

        message.ack, message.reject = then(message.ack), then(message.reject)

    def _next(self, message: Any) -> None:
        if self._over or message is not self._current:
            return
        self._current = None
        if self._others:  # it arrived before this call
            self._arrived(self._others.pop(0))
        else:
            self._consume()

    # -- the end -----------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Stop: the connection is lost or about to close."""
        self._over = True

    def leave(self) -> None:
        """An orderly stop of the worker: a job in hand goes back uncounted."""
        self._over = True
        message = self._current
        if message is not None and not message.acknowledged:
            self._write(message, message_headers.deliveries(message.headers))


def _redelivered(message: Any) -> bool:
    info = message.delivery_info
    return bool(info.get("redelivered")) if isinstance(info, Mapping) else False
