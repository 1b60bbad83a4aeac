"""What RabbitMQ must hold before a job can be published: exchanges, quorum queues, and the way of the dead.

A job queue ``mail`` is a quorum queue with a topic exchange of its own, because Celery's delayed delivery
(28 queues ``celery_delayed_0`` to ``_27``, one for each bit of the delay in seconds) works with topics. What
RabbitMQ itself buries (delivered too often, expired) goes through the exchange ``nightshift.dead`` to the
queue of that name, confirmed between the queues (``at-least-once``), so that nothing is lost on the way.

Delayed jobs come out of those queues by a way of our own that does not depend on how a queue is declared: under
``@job.`` and a word for the queue's *name*, through the exchange ``nightshift.delayed``. The alternate of that one is
``nightshift.dead``, so a delayed job whose queue was deleted meanwhile is buried. Else thirty-two of them would stop
the delayed jobs of every queue, for the delayed queues hand on no more before those have found theirs.

The delayed exchanges match the *last words* of a routing key, so a name must be one word: of two queues
``mail`` and ``eu.mail``, the first would else get the delayed jobs of both. A dot is written ``%2E``.
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
from .declaring import open_channel, unanswered

DELAYED_EXCHANGE = "celery_delayed_27"
LEVELS = 28
LONGEST_DELAY = 2**LEVELS - 1
"""Seconds; some eight years."""
ARRIVALS = Exchange("nightshift.delayed", "topic", arguments={"alternate-exchange": DEAD_QUEUE})
"""Where delayed jobs leave the delayed queues; those whose queue is gone go on to the dead-letter queue."""
OURS = "@job"
"""The word before the queue's, in the routing key of a delayed job of ours."""
READY_MARK = Exchange("nightshift.ready", "fanout")
"""Declared last: where it exists, the delayed queues and the dead-letter queue do."""
CONSUMER_TIMEOUT = 24 * 3600 * 1000
"""Milliseconds that a job may stay unacknowledged; servers before 3.12 know only a setting of their own."""
DELIVERY_LIMIT = "x-delivery-limit"
RETURNS = 1000
"""How often a job may come back to its queue before RabbitMQ itself buries it. It counts what was only received and
returned, too. What counts is ``NIGHTSHIFT_DELIVERY_LIMIT``, which workers see to (``worker/aside.py``).
"""
ASIDE = "nightshift.aside."
"""How the name begins of the queue in which those jobs of a queue wait that may have ended their worker."""

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
    """The name of a queue as one word of a routing key, in which nothing is a pattern."""
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


def aside(queue: str) -> Queue:
    """The declaration of the queue in which jobs of ``queue`` wait to be run alone; published to by its name."""
    return Queue(f"{ASIDE}{queue}", queue_arguments={"x-queue-type": "quorum", **_SAFE})


def dead_queue(version: tuple[int, ...]) -> Queue:
    """The dead-letter queue, from which nothing is ever dropped."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if version >= (4,):
        arguments[DELIVERY_LIMIT] = -1  # the default there is 20; before, it is none
    return Queue(
        DEAD_QUEUE, Exchange(DEAD_QUEUE, "fanout"), routing_key=DEAD_QUEUE, queue_arguments=arguments
    )


def delay(seconds: int, queue: str) -> tuple[str, str]:
    """The exchange and routing key by which a message reaches ``queue`` after ``seconds`` (at least 1)."""
    return DELAYED_EXCHANGE, calculate_routing_key(min(seconds, LONGEST_DELAY), _arrival(queue))


def declare_foundation(connection: Any, *, anyway: bool = False) -> None:
    """Declare the dead-letter queue and the delayed queues, if their mark is missing, or ``anyway``."""
    if not anyway and _exists(connection, READY_MARK):
        return
    with open_channel(connection) as channel:
        with unanswered(channel):
            dead_queue(server_version(connection)).bind(channel).declare()
            here = SimpleNamespace(channel=lambda: channel)
            declare_native_delayed_delivery_exchanges_and_queues(here, "quorum")
            arrivals = ARRIVALS.bind(channel)
            arrivals.declare()
            arrivals.bind_to(CELERY_DELAYED_DELIVERY_EXCHANGE, routing_key=f"#.{OURS}.*")
        READY_MARK.bind(channel).declare()


def declare_queue(connection: Any, queue: Queue) -> bool:
    """Declare a job queue, ours or the user's own, and let delayed jobs reach it.

    One that stands with another delivery limit, which RabbitMQ cannot change, will do: its limit is put into ``queue``,
    for whoever declares it next, and False returned. Raises ``PreconditionFailed`` for any other difference.
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
        _declare(connection, queue)  # raises if that was not all
        return False
    return True


def _declare(connection: Any, queue: Queue) -> None:
    with open_channel(connection) as channel:
        bound = queue.bind(channel)
        bound.on_declared = None  # there is no answer that it could be told; whoever consumes declares again
        with unanswered(channel):
            bound.declare()
            for key in _celerys_keys(queue):
                bound.bind_to(ARRIVALS.name, routing_key=key)
                ARRIVALS.bind(channel).bind_to(CELERY_DELAYED_DELIVERY_EXCHANGE, routing_key=key)
        bound.bind_to(ARRIVALS.name, routing_key=f"#.{_arrival(queue.name)}")


def _arrival(queue: str) -> str:
    """How the routing key of a delayed job of ours ends."""
    return f"{OURS}.{routing_word(queue)}"


def _celerys_keys(queue: Queue) -> Iterator[str]:
    """What the keys of jobs match that plain Celery delays for ``queue``: they begin with the bits of the delay."""
    if queue.exchange is not None:
        ways = [(queue.exchange, queue.routing_key)]
    else:
        ways = [(way.exchange, way.routing_key) for way in queue.bindings]
    for exchange, key in ways:
        if exchange.type == "topic" and set((key or "").split(".")) - {"", "*", "#"}:
            yield f"#.{key}"


def server_version(connection: Any) -> tuple[int, ...]:
    """The version of the server at the other end, ``(0,)`` if it does not say."""
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
