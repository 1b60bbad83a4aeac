"""The RabbitMQ topology: the exchanges and quorum queues that must exist before a publish.

A job queue ``mail`` is a quorum queue with its own topic exchange, because Celery's delayed delivery (28 queues
``celery_delayed_0`` to ``_27``, one for each bit of the delay in seconds) needs topics. When RabbitMQ itself buries a
message (delivered too often, expired), it goes through the exchange ``nightshift.dead`` to the queue of that name. The
queues confirm the transfer (``at-least-once``), so no message is lost.

A delayed job leaves the delayed queues through the exchange ``nightshift.delayed``, with a routing key that ends in
``@job.`` and the queue's *name* as one word, however the queue is declared. The alternate exchange is
``nightshift.dead``, so a delayed job whose queue was deleted is buried. Otherwise 32 such jobs would block the delayed
jobs of all queues, because a delayed queue transfers at most 32 unconfirmed messages at a time.

The delayed exchanges match the *last words* of a routing key, so a name must be one word. Otherwise the queue ``mail``
would also receive the delayed jobs of ``eu.mail``. A dot is written ``%2E``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from amqp.exceptions import PreconditionFailed
from kombu import Exchange, Queue
from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    calculate_routing_key,
    declare_native_delayed_delivery_exchanges_and_queues,
)
from kombu.utils.text import version_string_as_tuple

from ...message.burial import DEAD_QUEUE
from .fast_declare import open_channel, unanswered

DELAYED_EXCHANGE = "celery_delayed_27"
LEVELS = 28
LONGEST_DELAY = 2**LEVELS - 1
"""Seconds (8.5 years)."""
ARRIVALS = Exchange("nightshift.delayed", "topic", arguments={"alternate-exchange": DEAD_QUEUE})
"""The exchange through which delayed jobs leave the delayed queues; without their queue they go to the dead letters."""
OURS = "@job"
"""The word before the queue's word in the routing key of our delayed jobs."""
TOPOLOGY_MARKER = Exchange("nightshift.ready", "fanout")
"""Declared last: if it exists, the delayed queues and the dead-letter queue exist too."""
CONSUMER_TIMEOUT = 24 * 3600 * 1000
"""Milliseconds that a job may stay unacknowledged; servers before 3.12 have only a server-wide setting."""
DELIVERY_LIMIT = "x-delivery-limit"
RETURNS = 1000
"""How often a job may come back to its queue before RabbitMQ itself buries it. RabbitMQ also counts jobs that a worker
received and returned unstarted, so workers enforce ``NIGHTSHIFT_DELIVERY_LIMIT`` themselves (``worker/quarantine.py``).
"""
QUARANTINE = "nightshift.aside."
"""The prefix of a quarantine queue, in which jobs of a queue wait that may have killed their worker."""

_SAFE = {
    DELIVERY_LIMIT: RETURNS,
    "x-dead-letter-exchange": DEAD_QUEUE,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
    "x-consumer-timeout": CONSUMER_TIMEOUT,
}
_LIMIT_STANDS = re.compile(
    rf"inequivalent arg '{DELIVERY_LIMIT}'.*current is (?:none|(?:the value )?'(?P<limit>-?\d+)')"
)
_ONE_WORD = str.maketrans({"%": "%25", ".": "%2E", "*": "%2A", "#": "%23"})


def routing_word(name: str) -> str:
    """The name of a queue as one word of a routing key, without the characters of patterns."""
    return name.translate(_ONE_WORD)


def job_queue(name: str) -> Queue:
    """The declaration of a job queue."""
    return Queue(
        name,
        Exchange(name, "topic"),
        routing_key=routing_word(name),
        queue_arguments={
            "x-queue-type": "quorum",
            **_SAFE,
        },
    )


def quarantine_of(queue: str) -> Queue:
    """The declaration of the quarantine queue of ``queue``; publishers use its name."""
    return Queue(f"{QUARANTINE}{queue}", queue_arguments={"x-queue-type": "quorum", **_SAFE})


def dead_queue(version: tuple[int, ...]) -> Queue:
    """The declaration of the dead-letter queue for a server of that version; it never drops a message."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if version >= (4,):
        arguments[DELIVERY_LIMIT] = -1  # the default is 20 there, and no limit before
    return Queue(
        DEAD_QUEUE, Exchange(DEAD_QUEUE, "fanout"), routing_key=DEAD_QUEUE, queue_arguments=arguments
    )


def delay(seconds: int, queue: str) -> tuple[str, str]:
    """The exchange and routing key by which a message reaches ``queue`` after ``seconds`` (at least 1)."""
    return DELAYED_EXCHANGE, calculate_routing_key(min(seconds, LONGEST_DELAY), _arrival(queue))


def declare_shared(connection: Any, *, anyway: bool = False) -> None:
    """Declare the dead-letter queue and the delayed queues, unless ``TOPOLOGY_MARKER`` exists;

    ``anyway``: in any case.
    """
    if not anyway and _exists(connection, TOPOLOGY_MARKER):
        return
    with open_channel(connection) as channel:
        with unanswered(channel):
            dead_queue(server_version(connection)).bind(channel).declare()
            here = SimpleNamespace(channel=lambda: channel)
            declare_native_delayed_delivery_exchanges_and_queues(here, "quorum")
            arrivals = ARRIVALS.bind(channel)
            arrivals.declare()
            arrivals.bind_to(CELERY_DELAYED_DELIVERY_EXCHANGE, routing_key=f"#.{OURS}.*")
        TOPOLOGY_MARKER.bind(channel).declare()


def declare_queue(connection: Any, queue: Queue) -> bool:
    """Declare a job queue, ours or the user's, and bind it for delayed jobs; returns True.

    RabbitMQ cannot change the delivery limit of an existing queue. If only that differs, the queue is accepted: its
    limit is stored in ``queue`` for the next declaration, and the result is False. Raises ``PreconditionFailed`` for
    any other difference.
    """
    try:
        _declare(connection, queue)
    except PreconditionFailed as exc:
        standing = _LIMIT_STANDS.search(str(exc))
        if standing is None or DELIVERY_LIMIT not in (queue.queue_arguments or {}):
            raise
        queue.queue_arguments = {
            key: value for key, value in queue.queue_arguments.items() if key != DELIVERY_LIMIT
        }
        if standing["limit"]:
            queue.queue_arguments[DELIVERY_LIMIT] = int(standing["limit"])
        _declare(connection, queue)  # raises for another difference
        return False
    return True


def _declare(connection: Any, queue: Queue) -> None:
    with open_channel(connection) as channel:
        bound = queue.bind(channel)
        bound.on_declared = None  # it takes the answer, and there is none here; a consumer declares again
        with unanswered(channel):
            bound.declare()
            for key in _celerys_keys(queue):
                bound.bind_to(ARRIVALS.name, routing_key=key)
                ARRIVALS.bind(channel).bind_to(CELERY_DELAYED_DELIVERY_EXCHANGE, routing_key=key)
        bound.bind_to(ARRIVALS.name, routing_key=f"#.{_arrival(queue.name)}")


def _arrival(queue: str) -> str:
    """The end of the routing key of our delayed jobs for ``queue``."""
    return f"{OURS}.{routing_word(queue)}"


def _celerys_keys(queue: Queue) -> Iterator[str]:
    """Binding keys for jobs that plain Celery delays for ``queue``; their routing keys begin with the delay's bits."""
    if queue.exchange is not None:
        ways = [(queue.exchange, queue.routing_key)]
    else:
        ways = [(way.exchange, way.routing_key) for way in queue.bindings]
    for exchange, key in ways:
        if exchange.type == "topic" and set((key or "").split(".")) - {"", "*", "#"}:
            yield f"#.{key}"


def server_version(connection: Any) -> tuple[int, ...]:
    """The version of the connected server; ``(0,)`` if it does not report one."""
    text = connection.connection.server_properties.get("version") or "0"
    return tuple(version_string_as_tuple(text)[:3])


def _exists(connection: Any, exchange: Exchange) -> bool:
    try:
        with open_channel(connection) as channel:
            exchange.bind(channel).declare(passive=True)
    except connection.channel_errors as exc:
        if getattr(exc, "reply_code", None) == 404:
            return False
        raise
    return True
