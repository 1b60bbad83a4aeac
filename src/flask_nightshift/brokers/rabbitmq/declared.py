"""Declares queues in RabbitMQ, once in each process: with the user's declaration, else with ours."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from amqp.exceptions import PreconditionFailed
from kombu import Queue

from ...config.settings import Settings
from ...message.burial import DEAD_QUEUE
from ...text.lines import Line
from ..failures import STEP, left
from . import topology
from .user_queues import declared

logger = logging.getLogger("flask_nightshift.brokers.declarations")


class Declarations:
    """The declarations of one broker; ``name in`` it means that a publish to that queue needs no declaration."""

    def __init__(self, settings: Settings) -> None:
        self._given = {queue.name: queue for queue in declared(settings.celery.get("task_queues"))}
        self._done: set[str] = set()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._done

    def forget(self) -> None:
        """Declare all again at the next use, because the broker has lost a queue or an exchange."""
        self._done.clear()

    def is_given(self, name: str) -> bool:
        """Whether the user declares the queue called ``name``."""
        return name in self._given

    def ours(self, name: str) -> Queue:
        """Our declaration of the queue called ``name``."""
        if name.startswith(topology.QUARANTINE):
            return topology.quarantine_of(name.removeprefix(topology.QUARANTINE))
        return topology.job_queue(name)

    def are_ours(self, queue: Queue) -> bool:
        """Whether ``queue`` has the same declaration as ours."""
        ours = self.ours(queue.name)
        return bool(
            queue.exchange is not None
            and (queue.exchange.name, queue.exchange.type) == (ours.exchange.name, ours.exchange.type)
            and queue.routing_key == ours.routing_key
            and _but_limit(queue.queue_arguments) == _but_limit(ours.queue_arguments)
        )

    def has_ours(self, name: str) -> bool:
        """Whether the queue called ``name`` has our declaration."""
        return self.are_ours(self.of(name))

    def prepare(self, connection: Any, queues: Sequence[Queue]) -> None:
        """Declare the delayed queues, the dead-letter queue and ``queues``, for a consumer that connects."""
        try:
            self._declare(connection, queues)
        except connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 404:
                raise
            topology.declare_shared(connection, anyway=True)  # a part of it was deleted
            self._declare(connection, queues)

    def for_publish(self, connection: Any, queue: str, *, consumed: bool) -> None:
        """As ``once``, for the queue called ``queue``, which may be the dead-letter queue."""
        if queue != DEAD_QUEUE:
            self.once(connection, self.of(queue), consumed=consumed)
            return
        with self._declaring(DEAD_QUEUE) as missing:
            if missing:
                topology.declare_shared(connection)

    def _declare(self, connection: Any, queues: Sequence[Queue]) -> None:
        if DEAD_QUEUE not in self._done:
            topology.declare_shared(connection)
            self._done.add(DEAD_QUEUE)
        for queue in queues:
            if not self.are_ours(queue):
                self._given[queue.name] = queue
            if not topology.declare_queue(connection, queue):
                text = "it was declared with another x-delivery-limit and keeps it: "
                text += "`flask jobs doctor` says what that means"
                logger.info(Line("queue.other_limit", text, queue=queue.name))
            self._done.add(queue.name)

    def once(self, connection: Any, queue: Queue, *, consumed: bool = False) -> None:
        """Declare what a publisher to ``queue`` needs, once in this process and again after ``forget``.

        ``consumed``: this process holds a message from that queue, so the existing queue is accepted as it is.
        """
        with self._declaring(queue.name) as missing:
            if not missing:
                return
            try:
                self._declare(connection, [queue])
            except PreconditionFailed:
                if not consumed:
                    raise
                self._declare(connection, [Queue(queue.name, no_declare=True)])

    def of(self, name: str) -> Queue:
        """The declaration of the queue called ``name``: the user's, else ours."""
        return self._given.get(name) or self.ours(name)

    @contextmanager
    def _declaring(self, name: str) -> Iterator[bool]:
        """Yields whether this process must still declare ``name``; one thread at a time."""
        if name in self._done:
            yield False
            return
        # with a timeout: a fork may have copied the lock while another thread held it. Declaring twice is harmless
        locked = self._lock.acquire(timeout=max(0.0, left() - STEP))
        try:
            yield name not in self._done
            self._done.add(name)
        finally:
            if locked:
                self._lock.release()


def _but_limit(arguments: dict[str, Any] | None) -> dict[str, Any]:
    """The arguments without the delivery limit, which may differ on a queue of an earlier release."""
    return {key: value for key, value in (arguments or {}).items() if key != topology.DELIVERY_LIMIT}
