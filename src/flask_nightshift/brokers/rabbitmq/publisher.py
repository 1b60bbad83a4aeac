"""Publishes to RabbitMQ: declares what is missing, publishes confirmed and mandatory, repairs a lost topology once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from amqp.exceptions import MessageNacked, PreconditionFailed
from kombu import Queue

from ...config.settings import Settings
from ...domain.job import utcnow
from ...errors import BrokerUnavailable
from ...message.burial import DEAD_QUEUE
from ...message.envelope import Envelope
from ...message.unique import Holders
from ...text.passwords import hide_password
from ..connections import (
    Connection,
    ConnectionPool,
    attempt,
    drop,
    most_idle,
    publish,
)
from ..failures import RETRY_POLICY, STEP, errors, unavailable
from . import topology
from .batch import Batch
from .checks import other_queue
from .confirming import outbox_of
from .declared import Declarations
from .fast_declare import within_deadline
from .frames import TooLarge, fitting
from .nodes import Nodes
from .reading import FrameReader
from .writing import FrameWriter

T = TypeVar("T")

_OTHER_QUEUE = re.compile(r"inequivalent arg '.*' for queue '([^']*)'")
AT_ONCE = 500
"""The maximum number of unconfirmed messages in ``publish_many``."""


class RabbitMQPublisher:
    """The publishing half of ``RabbitMQBroker``, with its nodes, declarations and connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nodes = Nodes(settings.broker_url)
        self._declarations = Declarations(settings)
        self._pool = ConnectionPool(self._connect, self._fail, self._repair, idle=most_idle(settings.celery))

    @property
    def url(self) -> str:
        """The broker's URL without its password."""
        return hide_password(self._settings.broker_url)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """See ``failures.errors``."""
        return errors()

    @property
    def write_options(self) -> dict[str, Any]:
        """Transport options of connections that publish."""
        return {**self._options(STEP), **RETRY_POLICY}

    @property
    def publish_options(self) -> dict[str, Any]:
        """``mandatory``, so RabbitMQ returns an unroutable message, and time limits for the publish and its confirm."""
        return {"mandatory": True, "timeout": STEP, "confirm_timeout": STEP}

    def _options(self, step: float) -> dict[str, Any]:
        given = self._settings.celery.get("broker_transport_options") or {}
        ours = {
            "confirm_publish": True,
            "read_timeout": step,
            "write_timeout": step,
            "frame_handler": FrameReader,
            "frame_writer": FrameWriter,
        }
        return {**ours, **given}

    def send(self, producer: Any, queue: Queue | None, publish: Callable[[], T]) -> T:
        """Publish through Celery; after an unroutable message, declare all again and publish once more."""
        connection = producer.connection

        def work() -> T:
            if queue is None or queue.name in self._declarations:
                return publish()
            with within_deadline(connection, STEP):
                self._declarations.once(connection, queue)
                return publish()

        def repair(exc: BaseException) -> bool:
            producer.revive(connection)
            return self._repair(exc)

        return attempt(connection, work, self._fail, repair)

    def _repair(self, exc: BaseException) -> bool:
        """Repair the cause of ``exc`` if possible; returns whether a second try may succeed.

        If the broker has lost a queue or an exchange (312 no route, 404 not found), declare everything again. A nack
        needs no repair: a queue may have no leader for a moment.
        """
        if isinstance(exc, MessageNacked):
            return True
        if getattr(exc, "reply_code", None) not in (312, 404):
            return False
        self._declarations.forget()
        connection = self._connect()
        try:
            topology.declare_shared(connection, anyway=True)
        except errors():
            return False
        finally:
            drop(connection)
        return True

    # publishing

    def publish(
        self,
        envelope: Envelope,
        queue: str,
        *,
        due: datetime | None = None,
        held: Holders | None = None,  # noqa: ARG002 - the database holds the locks
    ) -> None:
        """Publish as mandatory and wait for the confirmation; a delay is rounded up to whole seconds."""
        self._publish(envelope, queue, due)

    def _publish(
        self, envelope: Envelope, queue: str, due: datetime | None, *, consumed: bool = False
    ) -> None:
        message = envelope.due_at(due)

        def send(connection: Any) -> None:
            exchange, key = self._destination(queue, due)
            outbox = outbox_of(connection)
            if outbox is None:
                fits = fitting(message, queue, connection.connection.frame_max)
                publish(connection.default_channel, fits, exchange, key, **self.publish_options)
                return
            try:
                outbox.publish([message], exchange, key, STEP)
            except TooLarge:
                fits = fitting(message, queue, connection.connection.frame_max)
                outbox.publish([fits], exchange, key, STEP)

        self._send(queue, send, consumed=consumed)

    def epoch(self) -> None:
        """None: RabbitMQ has no data but messages."""

    def publish_many(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        *,
        due: datetime | None = None,
        from_outbox: bool = False,  # noqa: ARG002 - no broker without scripts recognises a second publish
        held: Holders | None = None,  # noqa: ARG002 - likewise
    ) -> Iterator[int]:
        """Publish up to ``AT_ONCE`` messages in each step, and wait for their confirmations together."""
        return self._publish_many(envelopes, queue, due)

    def _publish_many(
        self, envelopes: Sequence[Envelope], queue: str, due: datetime | None, *, consumed: bool = False
    ) -> Iterator[int]:
        for at in range(0, len(envelopes), AT_ONCE):
            batch = Batch([message.due_at(due) for message in envelopes[at : at + AT_ONCE]])

            def send(connection: Any, batch: Batch = batch) -> None:
                batch.check(connection.connection.frame_max)
                exchange, key = self._destination(queue, due)
                batch.publish(connection, exchange, key, STEP)

            self._send(queue, send, consumed=consumed)
            yield batch.size

    def address(self, queue: Queue) -> tuple[str, str]:
        """The queue's own exchange and routing key."""
        return queue.exchange.name, queue.routing_key

    def delayed_address(self, queue: str, seconds: int) -> tuple[str, str]:
        """The delayed exchange; see ``topology.delay``."""
        return topology.delay(seconds, queue)

    def routing_key(self, queue: str, due: datetime | None) -> str:
        """That of the queue's own exchange, or of the delayed one."""
        return self._destination(queue, due)[1]

    def reaches(self, queue: Queue) -> bool:
        """Whether ``queue`` has the same declaration as ours."""
        return self._declarations.are_ours(queue)

    def _send(self, queue: str, send: Callable[[Any], None], *, consumed: bool = False) -> None:
        """Declare what ``queue`` needs, then call ``send(connection)``; time-limited, once more after a repair."""

        def work(connection: Any) -> None:
            if queue in self._declarations:
                send(connection)
                return
            with within_deadline(connection, STEP):
                self._declarations.for_publish(connection, queue, consumed=consumed)
                send(connection)

        self._pool.call(work)

    def _destination(self, queue: str, due: datetime | None) -> tuple[str, str]:
        seconds = math.ceil((due - utcnow()).total_seconds()) if due is not None else 0
        if queue == DEAD_QUEUE:
            return DEAD_QUEUE, DEAD_QUEUE
        if seconds > 0:
            return topology.delay(seconds, queue)
        if self._declarations.is_given(queue) or queue.startswith(topology.QUARANTINE):
            return "", queue  # by its name, as its exchange is unknown
        return queue, topology.routing_word(queue)

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
