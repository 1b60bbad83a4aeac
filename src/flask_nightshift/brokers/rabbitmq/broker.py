"""The RabbitMQ broker: quorum queues, confirmed and mandatory publishes, native delays, a dead-letter exchange.

RabbitMQ cannot report the delayed jobs of one queue, the age of its oldest job, or its next jobs. To read a message
from a quorum queue counts as a delivery, and ``x-delivery-limit`` would bury a job that was read too often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter
from time import monotonic
from typing import Any

from flask import Flask
from kombu import Queue
from kombu.common import Broadcast

from ...config.queue_names import queue_name
from ...config.settings import Settings
from ...errors import BrokerUnavailable
from ...message.envelope import Envelope
from ...options.publish import UnencodableHeader
from ..base import MAX_TAKEN, PendingDeadLetter
from ..capabilities import Capabilities
from ..connections import (
    MOST_IDLE,
    ThreadConnection,
    acknowledge,
    drop,
    retry_policy,
    return_message,
)
from ..failures import PATIENCE, RETRY_POLICY, STEP, errors, patience
from ..values import BrokerHealth, Finding, Place, QueueDepth, Where
from . import topology
from .checks import findings
from .dead_queue import DeadQueue
from .fast_declare import within_deadline
from .intake import Intake
from .publisher import RabbitMQPublisher
from .queues import all_of, purge, ready
from .returning import copy_of, queue_of
from .worker_connection import prepare_for_jobs, write_acks

MOST_AHEAD = 32
"""Jobs that a worker with a few children holds. With eight RabbitMQ takes twice the time for a job, with more no less.

After a crash all of them are suspects.
"""
CAPABILITIES = Capabilities(whole_seconds=True, knows_age=False, fixes_prefetch=True, most_ahead=MOST_AHEAD)
CONSUMER_STEP = 10.0
"""The time limit in seconds of a consumer's command."""


class RabbitMQBroker(RabbitMQPublisher):
    """One RabbitMQ server or cluster; the URLs of its nodes are separated by ``;``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._connection = ThreadConnection(self._connect, self._fail, self._repair)
        self._dead = DeadQueue(self._connection)

    @property
    def capabilities(self) -> Capabilities:
        """The features of RabbitMQ: delays are whole seconds (28 delayed queues, one per bit)."""
        return CAPABILITIES

    # Celery's side

    def celery_settings(self) -> dict[str, Any]:
        """Quorum queues, confirms, native delays; results, and the counters of chords, go to the history database."""
        return {
            "broker_url": self._settings.broker_url,
            "broker_transport_options": self._options(CONSUMER_STEP),
            "broker_connection_timeout": STEP,
            "broker_heartbeat": 30,
            "broker_pool_limit": MOST_IDLE,  # opened on demand; a wait for a free one would have no time limit
            "broker_native_delayed_delivery_queue_type": "quorum",
            "task_default_exchange_type": "topic",
            "task_default_queue_type": "quorum",
            "task_create_missing_queue_type": "quorum",
            "task_create_missing_queue_exchange_type": "topic",
            "worker_detect_quorum_queues": True,
            "task_publish_retry": True,
            "task_publish_retry_policy": RETRY_POLICY,
            "result_backend": self._settings.result_backend or f"db+{self._settings.database_url}",
        }

    def queue(self, name: str) -> Queue:
        """The declaration of a job queue (a quorum queue); raises ``ConfigurationError`` for an invalid name."""
        return self._declarations.ours(queue_name("queue", name))

    def prepare(self, connection: Any, queues: Sequence[Queue]) -> None:
        """Declare the delayed queues, the dead-letter queue and ``queues``; a worker calls it when it connects."""
        with within_deadline(connection, CONSUMER_STEP):
            self._declarations.prepare(connection, queues)

    def replace(self, message: Any, envelope: Envelope, queue: str, *, due: datetime | None = None) -> bool:
        """Publish, wait for the confirmation, then acknowledge; acknowledgements that wait are written first."""
        write_acks(message.channel)
        self._publish(envelope, queue, due, consumed=True)
        acknowledge(message)
        write_acks(message.channel)
        return True

    def worker_begins(
        self,
        connection: Any,
        slots: int,  # noqa: ARG002 - the Protocol's
        window: Callable[[], int] | None,
        *,
        blocks_loop: bool = False,
    ) -> None:
        """Prepare the connection for many jobs; RabbitMQ itself counts the messages that come back."""
        prepare_for_jobs(connection, blocks_loop=blocks_loop)
        if window is not None:
            channel = connection.default_channel
            channel.intake = Intake(channel, self._declarations.has_ours)

    def adjust_intake(self, channel: Any, *, children: int, window: int, held: int) -> None:
        """More or fewer consumers (``intake.py``)."""
        if (intake := getattr(channel, "intake", None)) is not None:
            intake.adjust(children=children, window=window, held=held)

    def skip_paused(self, channel: Any, queues: frozenset[str]) -> None:
        """Do nothing: the worker ends its consumers."""

    def last_order(self, channel: Any) -> None:
        """None: the database has the orders."""

    def end_consumer(self, channel: Any, tag: str) -> None:
        """Best while nothing is on its way to it: that would come back, and count as a delivery."""
        if (intake := getattr(channel, "intake", None)) is not None:
            intake.leave(tag)
        else:
            channel.basic_cancel(tag, nowait=True)

    def worker_ends(self, channel: Any, *, crashed: bool) -> None:
        """Do nothing: RabbitMQ counts the messages that come back in both cases."""

    def begin(self, message: Any) -> bool:  # noqa: ARG002 - the Protocol's
        """Return True: RabbitMQ does not count starts."""
        return True

    def holds(self, message: Any) -> bool:  # noqa: ARG002 - the Protocol's
        """Return True: RabbitMQ delivers the message to no other consumer while the connection lives."""
        return True

    def ours_until(self, channel: Any) -> float:  # noqa: ARG002 - the Protocol's
        """Infinite: the connection decides."""
        return math.inf

    def quarantine_of(self, queue: Queue) -> Queue | None:
        """The quarantine queue of ``queue``; None for a queue that is not shared or that ends with its consumer."""
        shared = not (queue.exclusive or queue.auto_delete or isinstance(queue, Broadcast))
        return topology.quarantine_of(queue.name) if shared else None

    def missed(self, messages: Sequence[Any]) -> Sequence[Any]:
        """Those whose queue is empty: otherwise other workers have jobs enough."""
        queues = {queue for queue in map(queue_of, messages) if self._declarations.has_ours(queue)}
        empty = self._pool.call(lambda connection: {each for each in queues if not ready(connection, each)})
        return [each for each in messages if queue_of(each) in empty]

    def return_unstarted(self, messages: Sequence[Any]) -> None:
        """Publish a copy of each to the tail of its queue, then acknowledge them: other returns count as deliveries.

        They go in the order in which they came.
        """
        queues: dict[str, list[Any]] = {}
        for message in sorted(messages, key=attrgetter("delivery_tag")):
            if not message.acknowledged:
                queues.setdefault(queue_of(message), []).append(message)
        for queue, its in queues.items():
            write_acks(its[0].channel)
            if (intake := getattr(its[0].channel, "intake", None)) is not None:
                intake.close([queue])  # else it would get them again
            try:
                self._return_together(its, queue)
            except UnencodableHeader:  # by the content of one of them
                self._return_each([each for each in its if not each.acknowledged], queue)
            write_acks(its[0].channel)

    def _return_together(self, messages: Sequence[Any], queue: str) -> None:
        unconfirmed = iter(messages)
        for confirmed in self._publish_many(list(map(copy_of, messages)), queue, None, consumed=True):
            for message in islice(unconfirmed, confirmed):
                acknowledge(message)

    def _return_each(self, messages: Sequence[Any], queue: str) -> None:
        for message in messages:
            try:
                self.replace(message, copy_of(message), queue)
            except UnencodableHeader:
                self.give_back(message)

    def give_back(self, message: Any) -> None:
        """Reject the message with ``requeue``."""
        return_message(message, self._fail)

    # looking

    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """The number of ready jobs of each queue, including its quarantine queue; the other numbers are None."""
        return self._connection.call(
            lambda connection: [
                QueueDepth(name, sum(ready(connection, each) for each in all_of(name))) for name in queues
            ]
        )

    def place(self, queue: str, job_id: str, due: datetime | None) -> Place:  # noqa: ARG002 - the Protocol's
        """Unknown: to read a job counts as a delivery. Only how many wait beside it can be told."""
        names = all_of(queue)
        counts = self._connection.call(lambda connection: [ready(connection, name) for name in names])
        return Place(Where.UNKNOWN, counts[0], quarantined=sum(counts[1:]))

    def delayed(self) -> int:
        """The number of jobs in the 28 delayed queues."""
        names = [f"celery_delayed_{level}" for level in range(topology.LEVELS)]
        return self._connection.call(lambda connection: sum(ready(connection, name) for name in names))

    def delayed_jobs(self) -> None:
        """None: to read a delayed job would count as a delivery."""

    def waiting_jobs(self) -> None:
        """None: to look for a job in a queue takes every job out of it."""

    def locks(self) -> None:
        """None: RabbitMQ runs no scripts, so the database holds the locks of unique jobs."""

    def orders(self) -> None:
        """None: RabbitMQ keeps messages only, so the database holds the orders for all workers."""

    def ticks(self) -> None:
        """None: RabbitMQ runs no scripts, so the database claims the ticks of schedule entries."""

    def now(self) -> None:
        """None: AMQP has no question for it."""

    def purge(self, queue: str) -> int:
        """Delete the ready jobs of ``queue``; delayed jobs stay, because the delayed queues mix those of all queues."""
        deleted: dict[str, int] = {}

        def question(connection: Any) -> None:
            for name in all_of(queue):
                deleted[name] = deleted.get(name, 0) + purge(connection, name)

        try:
            self._connection.call(question)
        except BrokerUnavailable as exc:
            exc.acted_on = sum(deleted.values())
            raise
        return sum(deleted.values())

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters; those without ``done()`` go back at this thread's next call."""
        return self._dead.take(limit, max_bytes)

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """Connect to a node and open a channel; each node gets a share of ``timeout``."""
        started = monotonic()
        nodes = len(self._nodes)
        step = timeout if nodes == 1 else timeout / (nodes + 0.2)
        connection = self._connect(step)
        try:
            with patience(max(min(PATIENCE, timeout / 2), timeout - step)):
                connection.ensure_connection(reraise_as_library_errors=False, **retry_policy(connection))
                connection.channel()
            properties = connection.connection.server_properties
        except errors() as exc:
            raise self._fail(exc) from exc
        finally:
            drop(connection)
        return BrokerHealth(
            str(properties.get("product", "RabbitMQ")),
            str(properties.get("version", "")),
            monotonic() - started,
        )

    def diagnose(self, *, longest_time_limit: float | None, queues: Iterable[str]) -> list[Finding]:
        """Check the version and its rules, the queues, the consumer timeout, policies, and memory and disk alarms."""
        try:
            return self._connection.call(
                lambda connection: findings(
                    connection,
                    longest_time_limit,
                    [self._declarations.of(name) for name in queues],
                    self._settings.celery,
                )
            )
        except BrokerUnavailable as exc:
            return [Finding("error", "broker", str(exc), "Start it, or correct NIGHTSHIFT_BROKER_URL.")]
        finally:
            self._connection.close()  # under an alarm the server no longer reads from it

    def close(self) -> None:
        """Close this thread's connection, and the idle connections that publish."""
        self._dead.close()
        self._connection.close()
        self._pool.close()


def make(settings: Settings, app: Flask) -> RabbitMQBroker:  # noqa: ARG001 - every broker's signature
    """The broker for ``connect``."""
    return RabbitMQBroker(settings)
