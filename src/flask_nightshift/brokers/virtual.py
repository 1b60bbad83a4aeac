"""The base of brokers on kombu's virtual transports: a queue is a plain list, and its name is its address."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from kombu import Exchange, Queue

from ..config.settings import Settings
from ..errors import BrokerUnavailable
from ..message.envelope import Envelope
from ..message.unique import Holders
from ..text.passwords import hide_password
from .connections import Connection, ConnectionPool, attempt, most_idle, return_message
from .failures import errors, unavailable
from .ticks import Ticks
from .values import Place, QueueDepth, Where

T = TypeVar("T")

_NUMBERS = itertools.count(1)
AT_ONCE = 500
"""The maximum number of messages in one step of ``publish_many``."""


class VirtualBroker(ABC):
    """Publishes over kombu connections, which a subclass creates, and settles through the channel of a message."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ConnectionPool(self._connect, self._fail, idle=most_idle(settings.celery))

    @property
    def url(self) -> str:
        """The broker's URL without its password."""
        return hide_password(self._settings.broker_url)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """See ``failures.errors``."""
        return errors()

    @property
    def publish_options(self) -> dict[str, Any]:
        """None needed: a push to a list always has a reply."""
        return {}

    def queue(self, name: str) -> Queue:
        """The declaration of a job queue; the list exists as soon as it contains a message."""
        return Queue(name, Exchange(name), routing_key=name)

    def prepare(self, connection: Any, queues: Sequence[Queue]) -> None:  # noqa: B027 - nothing is right for all
        """Do nothing: a list needs no declaration."""

    def send(self, producer: Any, queue: Queue, publish: Callable[[], T]) -> T:  # noqa: ARG002 - the Protocol's
        """Publish through Celery, within a time limit."""
        connection = producer.connection

        def work() -> T:
            producer.revive(connection)
            return publish()

        return attempt(connection, work, self._fail)

    def publish(
        self, envelope: Envelope, queue: str, *, due: datetime | None = None, held: Holders | None = None
    ) -> None:
        """Publish; the transport delays the message until ``due``."""
        message, number = envelope.due_at(due), next(_NUMBERS)

        def work(connection: Any) -> None:
            self._publish_some(
                connection.default_channel, (message,), queue, (connection.name, number), held=held
            )

        self._pool.call(work)

    def publish_many(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        *,
        due: datetime | None = None,
        from_outbox: bool = False,
        held: Holders | None = None,
    ) -> Iterator[int]:
        """Publish up to ``AT_ONCE`` messages in each step."""
        for at in range(0, len(envelopes), AT_ONCE):
            some = [message.due_at(due) for message in envelopes[at : at + AT_ONCE]]

            def work(connection: Any, some: Sequence[Envelope] = some, number: int = next(_NUMBERS)) -> None:
                once = connection.name, number
                channel = connection.default_channel
                self._publish_some(channel, some, queue, once, from_outbox=from_outbox, held=held)

            self._pool.call(work)
            yield len(some)

    def address(self, queue: Queue) -> tuple[str, str]:
        """No exchange, and the name of the list."""
        return "", queue.name

    def delayed_address(self, queue: str, seconds: int) -> tuple[str, str]:  # noqa: ARG002 - the Protocol's
        """As ``address``: the transport reads the due time from the message."""
        return "", queue

    def routing_key(self, queue: str, due: datetime | None) -> str:  # noqa: ARG002 - the Protocol's
        """Empty: a queue is addressed by its name."""
        return ""

    def reaches(self, queue: Queue) -> bool:
        """Whether ``queue`` is a plain list."""
        exchange = queue.exchange
        return bool(
            (exchange is None or exchange.type == "direct")
            and not queue.queue_arguments
            and not queue.expires
        )

    def quarantine_of(self, queue: Queue) -> None:  # noqa: B027 - likewise
        """None: virtual transports have no quarantine queues."""

    def adjust_intake(self, channel: Any, *, children: int, window: int, held: int) -> None:  # noqa: B027
        """Do nothing: the channel asks how many jobs its worker may hold."""

    def skip_paused(self, channel: Any, queues: frozenset[str]) -> None:  # noqa: B027
        """Do nothing: most know by themselves when to look again."""

    def last_order(self, channel: Any) -> int | None:  # noqa: ARG002 - the Protocol's
        """None: a channel hears of no orders."""
        return None

    def end_consumer(self, channel: Any, tag: str) -> None:
        """At once: no server is asked."""
        channel.basic_cancel(tag)

    def missed(self, messages: Sequence[Any]) -> Sequence[Any]:
        """All: they go back to the heads of their queues."""
        return messages

    def epoch(self) -> str | None:
        """None: nothing outlives its data."""
        return None

    def ticks(self) -> Ticks | None:
        """None: the database claims them."""
        return None

    def now(self) -> datetime | None:
        """None: there is no server, or nothing to ask it by."""
        return None

    def return_unstarted(self, messages: Sequence[Any]) -> None:
        """Reject each with ``requeue``."""
        for message in messages:
            self.give_back(message)

    def give_back(self, message: Any) -> None:
        """Reject the message with ``requeue``."""
        return_message(message, self._fail)

    @abstractmethod
    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """The depth of each queue."""

    def place(self, queue: str, job_id: str, due: datetime | None) -> Place:  # noqa: ARG002 - the Protocol's
        """Unknown, but for the number of ready jobs."""
        (depth,) = self.depths([queue])
        return Place(Where.UNKNOWN, depth.ready)

    def close(self) -> None:
        """Close the connections that publish."""
        self._pool.close()

    @abstractmethod
    def _connect(self) -> Connection:
        """Create a connection that publishes."""

    def _publish_some(
        self,
        channel: Any,
        envelopes: Sequence[Envelope],
        queue: str,
        once: tuple[str, int],  # noqa: ARG002 - not every transport detects a repetition
        *,
        from_outbox: bool = False,  # noqa: ARG002 - nor a second publish
        held: Holders | None = None,  # noqa: ARG002 - or has locks
    ) -> None:
        """Publish up to ``AT_ONCE`` messages; ``once`` identifies this publish if it is repeated."""
        for envelope in envelopes:
            channel.basic_publish(prepared_message(channel, envelope), "", queue)

    def _fail(self, exc: BaseException) -> BrokerUnavailable:
        """The ``BrokerUnavailable`` for ``exc``."""
        return unavailable(exc, self.url)


def prepared_message(channel: Any, envelope: Envelope) -> Any:
    """``envelope`` as a message of ``channel``, as ``kombu.Producer`` would prepare it."""
    properties = {"delivery_mode": 2, **envelope.properties}
    if (seconds := properties.get("expiration")) is not None:
        properties["expiration"] = str(int(seconds * 1000))
    return channel.prepare_message(
        envelope.body,
        properties.pop("priority", None),
        envelope.content_type,
        envelope.content_encoding,
        dict(envelope.headers),
        properties,
    )
