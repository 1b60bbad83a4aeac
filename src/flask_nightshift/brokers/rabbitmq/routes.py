"""Where Celery sends a job, when it is told an exchange, a routing key, or a queue of the user's own.

On RabbitMQ a delayed job comes to one queue, by its name (``topology.delay``). So the queue must be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kombu import Exchange, Queue
from kombu.common import Broadcast

from ...domain.job import utcnow
from ...errors import ConfigurationError
from . import topology


@dataclass(frozen=True, slots=True)
class Destination:
    """The exchange and routing key of a job, and those queues that are known to be reached by them."""

    exchange: str
    routing_key: str
    queues: tuple[Queue, ...]

    @property
    def queue(self) -> Queue | None:
        """The queue, None if it is none that is known, or several."""
        return self.queues[0] if len(self.queues) == 1 else None

    @property
    def name(self) -> str:
        """What people call it: the queue's name, if there is one."""
        return self.queue.name if self.queue is not None else self.routing_key or self.exchange

    def later(self, seconds: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """``options`` of a publish through Celery, so that RabbitMQ holds the job back for ``seconds``.

        Raises ``ConfigurationError`` if that would not reach one queue.
        """
        if self.queue is None:
            names = ", ".join(queue.name for queue in self.queues)
            raise ConfigurationError(
                "exchange, routing_key",
                (self.exchange, self.routing_key),
                "on RabbitMQ a job with a countdown or eta goes to one queue, and these lead to "
                + (f"several ({names}): " if names else "none that is known here: ")
                + "give queue= instead, or list the queue in NIGHTSHIFT_CELERY['task_queues']",
            )
        exchange, key = topology.delay(seconds, self.queue.name)
        due = utcnow() + timedelta(seconds=seconds)
        headers = {**(options.get("headers") or {}), "eta": due.isoformat()}
        changed = {
            "exchange": exchange,
            "routing_key": key,
            "headers": headers,
            "eta": None,
            "countdown": None,
        }
        return {"declare": [], **options, **changed, "queue": None, "exchange_type": "topic"}


def destination(app: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Destination:
    """Where ``app``, a Celery app, sends the job of a task without a delay: what ``send_task`` does there."""
    task = options.get("task_type") or app._tasks.get(name)  # noqa: SLF001 - without finalizing the app, as Celery
    given = {key: value for key, value in _of_task(task, options).items() if value is not None}
    given.update({key: value for key, value in options.items() if value is not None})
    route = app.amqp.router.route(given, options.get("route_name") or name, args, kwargs, task)
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
    """A queue that everybody means by it, which a broadcast's is not."""
    return () if queue is None or isinstance(queue, Broadcast) else (queue,)


def declared(queues: object) -> Iterator[Queue]:
    """The declarations in Celery's setting ``task_queues``: kombu queues, or a mapping by name."""
    if isinstance(queues, Mapping):
        for name, queue in queues.items():
            yield (
                queue if isinstance(queue, Queue) else Queue.from_dict(name, **{"routing_key": name, **queue})
            )
    elif isinstance(queues, (list, tuple, set, frozenset)):
        yield from (queue for queue in queues if isinstance(queue, Queue))


def _of_task(task: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that a registered task sets for all its jobs; ``apply_async`` has taken them up already."""
    if options.get("task_type") is None and hasattr(task, "_get_exec_options"):
        return dict(task._get_exec_options() or {})  # noqa: SLF001 - Celery's own place
    return {}


def _name(exchange: Any) -> str | None:
    return exchange.name if isinstance(exchange, Exchange) else exchange


def _leads(exchange: str, key: str, queue: Queue) -> bool:
    """Whether a message to ``exchange`` under ``key`` gets to ``queue`` by the bindings of its declaration."""
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
    """As a topic exchange does it: ``*`` is one word, ``#`` any number of them."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches_words(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches_words(pattern[1:], words[1:])
