"""Where Celery's producer sends a job: exchange, routing key and the queues that they lead to.

On RabbitMQ a delayed job reaches exactly one queue, by the queue's name (``topology.delay``), so that queue must be
known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kombu import Exchange, Queue
from kombu.common import Broadcast

from ..domain.job import utcnow
from ..errors import ConfigurationError
from .call import Call


@dataclass(frozen=True, slots=True)
class Destination:
    """The exchange and routing key of a job, and the known queues that they lead to."""

    exchange: str
    routing_key: str
    queues: tuple[Queue, ...]

    @property
    def queue(self) -> Queue | None:
        """The queue; None if no known queue, or more than one, would receive the job."""
        return self.queues[0] if len(self.queues) == 1 else None

    @property
    def name(self) -> str:
        """A name for people: the queue's, else the routing key, else the exchange."""
        return self.queue.name if self.queue is not None else self.routing_key or self.exchange

    def delayed(self, options: Mapping[str, Any], address: tuple[str, str], seconds: int) -> dict[str, Any]:
        """``options`` for Celery's producer that make the broker delay the job for ``seconds``.

        ``address`` is the exchange and routing key of that delay.
        """
        due = utcnow() + timedelta(seconds=seconds)
        exchange, routing_key = address
        changed = {
            "exchange": exchange,
            "routing_key": routing_key,
            "headers": {**(options.get("headers") or {}), "eta": due.isoformat()},
            "queue": None,
            "exchange_type": "topic",
        }
        return {"declare": [], **options, **changed}

    def only_queue(self) -> str:
        """The name of the queue; raises ``ConfigurationError`` if there is not exactly one."""
        if self.queue is not None:
            return str(self.queue.name)
        names = ", ".join(queue.name for queue in self.queues)
        raise ConfigurationError(
            "exchange, routing_key",
            (self.exchange, self.routing_key),
            "on RabbitMQ a job with a countdown or eta goes to exactly one queue, but these lead to "
            + (f"several ({names}): " if names else "no queue that this process knows: ")
            + "give queue= instead, or list the queue in NIGHTSHIFT_CELERY['task_queues']",
        )


def destination(app: Any, call: Call) -> Destination:
    """Where ``app.send_task`` (``app`` is a Celery app) would send the job of ``call`` without a delay."""
    given = {key: value for key, value in _of_task(call).items() if value is not None} | call.options
    name = call.options.get("route_name") or call.name
    route = app.amqp.router.route(given, name, call.args, call.kwargs, call.task)
    exchange, key, queue = _name(route.get("exchange")), route.get("routing_key"), route.get("queue")
    if queue is None and exchange is None:
        queue = app.amqp.default_queue
    kind = route.get("exchange_type") or getattr(getattr(queue, "exchange", None), "type", None) or "direct"
    if not (exchange and key) and kind == "direct":
        return Destination("", queue.name if queue is not None else "", _only(queue))
    if exchange is None:
        exchange = _name(queue.exchange) or _name(app.amqp.default_exchange) or ""
        key = key or queue.routing_key or app.conf.task_default_routing_key
    key = str(key or "")
    if queue is not None and (exchange, key) == (_name(queue.exchange), queue.routing_key):
        return Destination(exchange, key, _only(queue))
    known = app.amqp.queues
    if not exchange:
        return Destination("", key, _only(known.get(key)))
    return Destination(exchange, key, tuple(q for q in known.values() if _leads(exchange, key, q)))


def _only(queue: Queue | None) -> tuple[Queue, ...]:
    """``queue`` as a tuple; empty for a ``Broadcast``, which creates a queue per consumer."""
    return () if queue is None or isinstance(queue, Broadcast) else (queue,)


def _of_task(call: Call) -> Mapping[str, Any]:
    """A registered task's options for all its jobs; none for a call by ``apply_async``, which has merged them."""
    if "task_type" not in call.options and hasattr(call.task, "_get_exec_options"):
        return dict(call.task._get_exec_options() or {})  # noqa: SLF001 - Celery's own place
    return {}


def _name(exchange: Any) -> str | None:
    return exchange.name if isinstance(exchange, Exchange) else exchange


def _leads(exchange: str, key: str, queue: Queue) -> bool:
    """Whether a message to ``exchange`` with routing key ``key`` reaches ``queue`` by its declared bindings."""
    if queue.exchange is not None:
        return bool(queue.exchange.name == exchange and _matches(queue.exchange.type, queue.routing_key, key))
    return any(
        way.exchange.name == exchange and _matches(way.exchange.type, way.routing_key, key)
        for way in queue.bindings
    )


def _matches(kind: str, bound: str | None, key: str) -> bool:
    if kind == "topic":
        return _matches_words((bound or "").split("."), key.split("."))
    return kind == "fanout" or (kind == "direct" and (bound or "") == key)


def _matches_words(pattern: list[str], words: list[str]) -> bool:
    """Match as a topic exchange does: ``*`` is one word, ``#`` any number of words."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches_words(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches_words(pattern[1:], words[1:])
