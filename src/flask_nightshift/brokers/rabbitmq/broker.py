"""RabbitMQ: quorum queues, confirmed and mandatory publishes, its own delays and dead-letter exchange.

What RabbitMQ cannot tell: how many jobs of one queue are delayed, how old the oldest is, and what the next
ones are (looking would count as a delivery, and ``x-delivery-limit`` buries what is looked at too often).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

from amqp.exceptions import MessageNacked, PreconditionFailed
from kombu import Queue
from kombu.common import Broadcast

from ...config.settings import Settings, queue_name
from ...domain.job import utcnow
from ...errors import BrokerUnavailable
from ...message.headers import DEAD_QUEUE, Outgoing
from ...text.passwords import hide_password
from ..base import MAX_TAKEN, BrokerHealth, Finding, PendingDeadLetter, QueueDepth
from ..capabilities import Capabilities
from ..connections import (
    MOST_IDLE,
    Connection,
    Link,
    Links,
    acknowledge,
    attempt,
    drop,
    later,
    most_idle,
    publish,
    retry_policy,
    return_message,
)
from ..failures import ERRORS, PATIENCE, RETRY_POLICY, STEP, patience, unavailable
from . import topology
from .batch import Batch
from .checks import findings, other_queue
from .dead_queue import DeadQueue
from .declarations import Declarations
from .declaring import in_time, open_channel
from .frames import fitting, frame_writer
from .nodes import Nodes

T = TypeVar("T")

_OTHER_QUEUE = re.compile(r"inequivalent arg '.*' for queue '([^']*)'")
CAPABILITIES = Capabilities(whole_seconds=True, shows_ready=False, knows_age=False, fixes_prefetch=True)
AT_ONCE = 500
"""Messages that are on their way at once, unconfirmed, in ``publish_many``."""
CONSUMER_STEP = 10.0
"""Seconds that a consumer waits for the answer to a command."""


class RabbitMQBroker:
    """One RabbitMQ server or cluster; several URLs, separated by ``;``, are its nodes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nodes = Nodes(settings.broker_url)
        self._declarations = Declarations(settings)
        self._link = Link(self._connect, self._fail, self._repair)
        self._links = Links(self._connect, self._fail, self._repair, idle=most_idle(settings.celery))
        self._dead = DeadQueue(self._link)

    @property
    def url(self) -> str:
        """Without the password."""
        return hide_password(self._settings.broker_url)

    @property
    def capabilities(self) -> Capabilities:
        """Delays wait in Celery's 28 delayed queues, spelt in bits of a second each; a look would be a delivery."""
        return CAPABILITIES

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its libraries raise."""
        return ERRORS

    # Celery's side

    def celery_settings(self) -> dict[str, Any]:
        """Quorum queues, confirms, native delays; results in the history database, where chords count too."""
        return {
            "broker_url": self._settings.broker_url,
            "broker_transport_options": self._options(CONSUMER_STEP),
            "broker_connection_timeout": STEP,
            "broker_heartbeat": 30,
            "broker_pool_limit": MOST_IDLE,  # made only when so many threads publish at once; waiting has no bound
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

    @property
    def write_options(self) -> dict[str, Any]:
        """Transport options of connections that publish."""
        return {**self._options(STEP), **RETRY_POLICY}

    @property
    def publish_options(self) -> dict[str, Any]:
        """A message that no queue takes comes back; a confirmation that does not come is an error."""
        return {"mandatory": True, "timeout": STEP, "confirm_timeout": STEP}

    def _options(self, step: float) -> dict[str, Any]:
        given = self._settings.celery.get("broker_transport_options") or {}
        ours = {
            "confirm_publish": True,
            "read_timeout": step,
            "write_timeout": step,
            "frame_writer": frame_writer,
        }
        return {**ours, **given}

    def queue(self, name: str) -> Queue:
        """The quorum queue of a job queue's name; raises ``ConfigurationError`` for a name that may be none."""
        return self._declarations.ours(queue_name("queue", name))

    def prepare(self, connection: Any, queues: Sequence[Queue]) -> None:
        """Declare the delayed queues, the dead-letter queue, and ``queues``; for a consumer that connects."""
        with in_time(connection, CONSUMER_STEP):
            self._declarations.prepare(connection, queues)

    def send(self, producer: Any, queue: Queue | None, publish: Callable[[], T]) -> T:
        """Publish through Celery: topology first, an unroutable message mends it and goes out again."""
        connection = producer.connection

        def work() -> T:
            if queue is None or queue.name in self._declarations:
                return publish()
            with in_time(connection, STEP):
                self._declarations.once(connection, queue)
                return publish()

        def repair(exc: BaseException) -> bool:
            producer.revive(connection)
            return self._repair(exc)

        return attempt(connection, work, self._fail, repair)

    def _repair(self, exc: BaseException) -> bool:
        """Whether a second try may succeed.

        The broker lost a queue or an exchange (312 no route, 404 not found): then declare everything again. Or
        it refused the message for the moment, because a queue has no leader yet.
        """
        if isinstance(exc, MessageNacked):
            return True
        if getattr(exc, "reply_code", None) not in (312, 404):
            return False
        self._declarations.forget()
        connection = self._connect()
        try:
            topology.declare_foundation(connection, anyway=True)
        except ERRORS:
            return False
        finally:
            drop(connection)
        return True

    # publishing

    def publish(self, outgoing: Outgoing, queue: str, *, due: datetime | None = None) -> None:
        """Publish, mandatory and confirmed; a delay is rounded up to whole seconds."""
        self._publish(outgoing, queue, due)

    def _publish(
        self, outgoing: Outgoing, queue: str, due: datetime | None, *, consumed: bool = False
    ) -> None:
        message = later(outgoing, due)

        def send(connection: Any) -> None:
            exchange, key = self._destination(queue, due)
            channel = connection.default_channel
            fits = fitting(message, queue, connection.connection.frame_max)
            publish(channel, fits, exchange, key, **self.publish_options)

        self._send(queue, send, consumed=consumed)

    def publish_many(
        self, outgoing: Sequence[Outgoing], queue: str, *, due: datetime | None = None
    ) -> Iterator[int]:
        """Some hundreds in one step, confirmed together."""
        for at in range(0, len(outgoing), AT_ONCE):
            batch = Batch([later(message, due) for message in outgoing[at : at + AT_ONCE]])

            def send(connection: Any, batch: Batch = batch) -> None:
                batch.check(connection.default_channel.connection.frame_max)
                exchange, key = self._destination(queue, due)
                batch.publish(connection, exchange, key, STEP)

            self._send(queue, send)
            yield batch.size

    def address(self, queue: Queue) -> tuple[str, str]:
        """Its own exchange."""
        return queue.exchange.name, queue.routing_key

    def reaches(self, queue: Queue) -> bool:
        """Whether it is declared as we would."""
        return self._declarations.are_ours(queue)

    def _send(self, queue: str, send: Callable[[Any], None], *, consumed: bool = False) -> None:
        """``send(connection)`` when what ``queue`` needs is declared; in bounded time, once more if mended."""

        def work(connection: Any) -> None:
            if queue in self._declarations:
                send(connection)
                return
            with in_time(connection, STEP):
                self._declarations.for_publish(connection, queue, consumed=consumed)
                send(connection)

        self._links.call(work)

    def _destination(self, queue: str, due: datetime | None) -> tuple[str, str]:
        seconds = math.ceil((due - utcnow()).total_seconds()) if due is not None else 0
        if queue == DEAD_QUEUE:
            return DEAD_QUEUE, DEAD_QUEUE
        if seconds > 0:
            return topology.delay(seconds, queue)
        if self._declarations.is_given(queue) or queue.startswith(topology.ASIDE):
            return "", queue  # whatever exchange it has, and perhaps it has none
        return queue, topology.routing_word(queue)

    def replace(self, message: Any, outgoing: Outgoing, queue: str, *, due: datetime | None = None) -> bool:
        """Publish and wait for the confirmation, then acknowledge."""
        self._publish(outgoing, queue, due, consumed=True)
        acknowledge(message)
        return True

    def worker_begins(self, connection: Any, slots: int) -> None:
        """Nothing: RabbitMQ counts what comes back."""

    def worker_ends(self, channel: Any, *, crashed: bool) -> None:
        """Nothing: what comes back counts either way."""

    def begin(self, message: Any) -> bool:  # noqa: ARG002 - the Protocol's
        """Yes: there is nothing to count."""
        return True

    def holds(self, message: Any) -> bool:  # noqa: ARG002 - the Protocol's
        """Yes: it goes to nobody else while the connection lives."""
        return True

    def aside(self, queue: Queue) -> Queue | None:
        """A queue of its own for each; none for what is not shared (a broadcast's), or ends with its consumer."""
        shared = not (queue.exclusive or queue.auto_delete or isinstance(queue, Broadcast))
        return topology.aside(queue.name) if shared else None

    def give_back(self, message: Any) -> None:
        """Have the transport reject it, to be given out again."""
        return_message(message, self._fail)

    # looking

    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """Only ``ready`` can be told for each queue."""
        return self._link.call(
            lambda connection: [
                QueueDepth(name, sum(_ready(connection, each) for each in _all_of(name))) for name in queues
            ]
        )

    def delayed(self) -> int:
        """Jobs in the 28 delayed queues."""
        names = [f"celery_delayed_{level}" for level in range(topology.LEVELS)]
        return self._link.call(lambda connection: sum(_ready(connection, name) for name in names))

    def delayed_jobs(self) -> None:
        """Not to be seen: a look would count as a delivery."""

    def peek(self, queue: str, limit: int = 20) -> list[dict[str, Any]]:  # noqa: ARG002 - the Protocol's
        """Always empty: on a quorum queue a look counts as a delivery."""
        return []

    def purge(self, queue: str) -> int:
        """Delete the ready jobs of ``queue``; delayed ones cannot be told from those of other queues."""
        return self._link.call(lambda connection: sum(_purge(connection, name) for name in _all_of(queue)))

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters; those not ``done()`` come back at this thread's next call."""
        return self._dead.take(limit, max_bytes)

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """Connect to a node and open a channel; each node gets its share of the time."""
        started = monotonic()
        nodes = len(self._nodes)
        step = timeout if nodes == 1 else timeout / (nodes + 0.2)
        connection = self._connect(step)
        try:
            with patience(max(min(PATIENCE, timeout / 2), timeout - step)):
                connection.ensure_connection(reraise_as_library_errors=False, **retry_policy(connection))
                connection.channel()
            properties = connection.connection.server_properties
        except ERRORS as exc:
            raise self._fail(exc) from exc
        finally:
            drop(connection)
        return BrokerHealth(
            str(properties.get("product", "RabbitMQ")),
            str(properties.get("version", "")),
            monotonic() - started,
        )

    def diagnose(self, *, longest_time_limit: float | None, queues: Iterable[str]) -> list[Finding]:
        """Version, queue declarations, consumer timeout, memory and disk alarms."""
        try:
            return self._link.call(
                lambda connection: findings(
                    connection, longest_time_limit, [self._declarations.of(name) for name in queues]
                )
            )
        except BrokerUnavailable as exc:
            return [Finding("error", "broker", str(exc), "Start it, or correct NIGHTSHIFT_BROKER_URL.")]
        finally:
            self._link.close()  # under an alarm the server has stopped reading from it

    def close(self) -> None:
        """Close this thread's connection, and those that nobody publishes over just now."""
        self._dead.close()
        self._link.close()
        self._links.close()

    def _fail(self, exc: BaseException) -> BrokerUnavailable:
        failure = unavailable(exc, self.url)
        queue = _OTHER_QUEUE.search(str(exc)) if isinstance(exc, PreconditionFailed) else None
        return failure if queue is None else BrokerUnavailable(f"{failure} {other_queue(queue[1])}")

    def _connect(self, step: float = STEP) -> Connection:
        options = {**self._options(step), "read_timeout": step, "write_timeout": step, **RETRY_POLICY}
        given = self._settings.celery
        return self._nodes.connect(
            connect_timeout=step,
            transport_options=options,
            ssl=given.get("broker_use_ssl") or False,
            login_method=given.get("broker_login_method"),
        )


def _all_of(queue: str) -> tuple[str, ...]:
    """The queues in which jobs of ``queue`` wait."""
    return (queue,) if queue == DEAD_QUEUE else (queue, f"{topology.ASIDE}{queue}")


def _purge(connection: Any, queue: str) -> int:
    if not _ready(connection, queue):
        return 0
    with open_channel(connection) as channel:
        return int(channel.queue_purge(queue))


def _ready(connection: Any, queue: str) -> int:
    """The messages that stand ready in ``queue``, 0 if there is no such queue."""
    try:
        with open_channel(connection) as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors as exc:
        if getattr(exc, "reply_code", None) == 404:
            return 0
        raise
