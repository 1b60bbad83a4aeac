"""The checks of ``flask jobs doctor`` on RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kombu import Producer, Queue

from ..values import Finding
from . import rules, topology

DEFAULT_CONSUMER_TIMEOUT = 1800.0
"""The default number of seconds after which a server (3.8.17 or later) closes a channel with an unacknowledged job."""


def findings(
    connection: Any, longest_time_limit: float | None, queues: Iterable[Queue], celery: Mapping[str, Any]
) -> list[Finding]:
    """Run every check on an open connection; raises py-amqp's errors if the connection is lost.

    ``celery`` are the user's settings of Celery.
    """
    version, queues = topology.server_version(connection), list(queues)
    found = [
        _version(version),
        rules.priorities(version),
        *_consumer_timeout(version, longest_time_limit),
        *rules.deprecated(version, queues, celery),
        *_declarations(connection, queues),
        _alarms(connection),
    ]
    if queues and found[-1].level == "ok":  # during an alarm the server takes no message to try
        found += _policy(connection, queues[0].name)
    return found


def _policy(connection: Any, queue: str) -> list[Finding]:
    """What policies do, if this user may try it."""
    try:
        return list(rules.policy(connection, queue))
    except (*connection.connection_errors, *connection.channel_errors, TimeoutError) as exc:
        return [
            Finding(
                "info",
                "policy",
                f"policies could not be tried with a queue named {queue}{rules.PROBE}…: {exc}",
                f"Let the user configure, write and read such queues, or look: rabbitmqctl list_policies. "
                f"A delivery-limit must be {topology.RETURNS} or more, and delayed-retry-type must be unset.",
            )
        ]


def other_queue(name: str) -> str:
    """The remedy for a queue that exists with another declaration."""
    return (
        f"Let {name} run empty, then: rabbitmqctl delete_queue {name}. To keep it as it is, "
        "declare it so in NIGHTSHIFT_CELERY['task_queues']."
    )


def _version(version: tuple[int, ...]) -> Finding:
    text = ".".join(map(str, version))
    if version < (3, 8):
        return Finding(
            "error", "version", f"RabbitMQ {text} has no quorum queues.", "Upgrade to 3.10 or later."
        )
    if version < (3, 10):
        return Finding(
            "error",
            "version",
            f"RabbitMQ {text} cannot move dead letters and delayed jobs safely (at-least-once).",
            "Upgrade to 3.10 or later.",
        )
    return Finding("ok", "version", f"RabbitMQ {text}")


def _consumer_timeout(version: tuple[int, ...], longest: float | None) -> Iterator[Finding]:
    """Compare time limits with the consumer timeout.

    Servers before 3.12 have one timeout for all queues, which AMQP does not show, so compare with its default.
    """
    per_queue = version >= (3, 12)
    bound = topology.CONSUMER_TIMEOUT / 1000 if per_queue else DEFAULT_CONSUMER_TIMEOUT
    if longest is not None and longest < bound:
        yield Finding(
            "ok", "consumer_timeout", f"jobs end within {longest:g} s, the server waits for {bound:g} s"
        )
        return
    what = "a task has no time limit" if longest is None else f"a task may run for {longest:g} s"
    remedy = f"Give every task a time_limit below {bound:g} s"
    if not per_queue:
        what += " and the server does not tell its timeout; by default"
        wanted = "" if longest is None else f" to {int(longest * 1000) + 60_000}"
        remedy += f", or raise consumer_timeout{wanted} (milliseconds) in rabbitmq.conf"
    yield Finding(
        "error" if per_queue and longest is not None else "warning",
        "consumer_timeout",
        f"{what}, RabbitMQ takes a job back after {bound:g} s.",
        f"{remedy}.",
    )


def _declarations(connection: Any, queues: Iterable[Queue]) -> Iterator[Finding]:
    for queue in queues:
        try:
            topology.declare_shared(connection)
            as_wanted = topology.declare_queue(connection, queue)
        except connection.channel_errors as exc:
            yield Finding(
                "error",
                "queues",
                f"{queue.name} exists and is declared in another way: {exc}",
                other_queue(queue.name),
            )
        else:
            yield _kind(queue) if as_wanted else _other_limit(queue)


def _other_limit(queue: Queue) -> Finding:
    standing = (queue.queue_arguments or {}).get(topology.DELIVERY_LIMIT, "none")
    return Finding(
        "warning",
        "queues",
        f"{queue.name} was declared with x-delivery-limit {standing}, and RabbitMQ cannot change it: "
        "it buries a job that comes back so often, also one that never began. Workers seldom let it come to that.",
        f"When it suits you, let {queue.name} run empty and stop its workers, then: "
        f"rabbitmqctl delete_queue {queue.name}",
    )


def _kind(queue: Queue) -> Finding:
    """Check the arguments of a queue; one that the user declares may lack those that keep jobs safe."""
    arguments = queue.queue_arguments or {}
    if arguments.get("x-queue-type") == "quorum" and arguments.get("x-dead-letter-exchange"):
        return Finding("ok", "queues", f"{queue.name} is a quorum queue with a dead-letter exchange")
    return Finding(
        "warning",
        "queues",
        f"{queue.name} is declared in NIGHTSHIFT_CELERY['task_queues'] without what keeps jobs safe: "
        "nobody counts its deliveries, and what RabbitMQ itself drops is gone.",
        f"List {queue.name} in NIGHTSHIFT_QUEUES instead; an old queue must run empty and be deleted first.",
    )


def _alarms(connection: Any) -> Finding:
    """Publish two messages to no queue: during an alarm the server stops reading after the first one."""
    producer = Producer(connection.channel(), auto_declare=False)
    try:
        for _ in range(2):
            producer.publish(
                b"",
                exchange="",
                routing_key="nightshift.probe",
                content_type="text/plain",
                confirm_timeout=1.0,
            )
    except TimeoutError:
        return Finding(
            "error",
            "alarms",
            "RabbitMQ takes no messages: a memory or disk alarm is on.",
            "See rabbitmq-diagnostics alarms; free memory or disk, or raise the limits.",
        )
    return Finding("ok", "alarms", "no memory or disk alarm")
