"""The rules of RabbitMQ's versions for our queues: order of priorities, refused features, effects of policies.

AMQP does not show policies, so ``policy`` tries them out: it returns a message to a queue that is named like a job
queue, more often than RabbitMQ 4 allows by default.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

import amqp
from kombu import Queue

from ..values import Finding
from .fast_declare import open_channel
from .topology import DELIVERY_LIMIT, RETURNS, job_queue

REFUSES = (4, 3)
"""The first version that may refuse deprecated features by default."""
PROBE = ".nightshift-probe."
PROBE_LIVES = 60_000
"""Milliseconds for which an unused probe queue may stay, if the doctor dies."""
TRIES = 22
"""Returns of a message in the probe; RabbitMQ 4 itself, and many a policy, allow 20."""
RETURN_SECONDS = 0.5
"""Seconds within which a returned message must be ready again."""


def priorities(version: tuple[int, ...]) -> Finding:
    """How a quorum queue of that version orders jobs of different priorities."""
    if version >= (4, 3):
        text = "the highest is delivered first: 32 levels, 0 to 31; no priority is 0, and more than 31 is 31"
        return Finding("ok", "priorities", text)
    what = "quorum queues ignore the priority of a job"
    if version >= (4,):
        what = "of three jobs, two have a priority of 5 or more, and one a lower one or none"
    return Finding(
        "info",
        "priorities",
        f"{what}.",
        "Use a queue for each priority, or upgrade to RabbitMQ 4.3 or later.",
    )


def deprecated(version: tuple[int, ...], queues: list[Queue], celery: Mapping[str, Any]) -> Iterator[Finding]:
    """Settings and queues of the user's that RabbitMQ 4.3 refuses, or that have no effect there."""
    level = "error" if version >= REFUSES else "warning"
    for exclusive, durable in (
        ("control_queue_exclusive", "control_queue_durable"),
        ("event_queue_exclusive", "event_queue_durable"),
    ):
        if celery.get(exclusive) is False and not celery.get(durable):
            yield Finding(
                level,
                "deprecated",
                f"{exclusive} is False: RabbitMQ 4.3 refuses queues that are neither durable nor exclusive.",
                f"Remove {exclusive} from NIGHTSHIFT_CELERY, or set {durable} to True.",
            )
    for queue in queues:
        for what in _refused(queue):
            yield Finding(
                level,
                "deprecated",
                f"{queue.name} {what}.",
                f"List {queue.name} in NIGHTSHIFT_QUEUES instead of task_queues; let it run empty and delete it first.",
            )


def _refused(queue: Queue) -> Iterator[str]:
    arguments = queue.queue_arguments or {}
    quorum = arguments.get("x-queue-type") == "quorum"
    if not (queue.durable or queue.exclusive):
        yield "is neither durable nor exclusive, which RabbitMQ 4.3 refuses"
    if "x-queue-mode" in arguments or arguments.get("x-queue-version") == 1:
        yield "has x-queue-mode or x-queue-version 1, which RabbitMQ 4.3 refuses"
    if quorum and ("x-max-priority" in arguments or queue.max_priority):
        yield "is a quorum queue with x-max-priority, which every RabbitMQ refuses; 4.3 has priorities without it"
    if any(name.startswith("x-ha-") for name in arguments):
        yield "is to be mirrored (x-ha-…); RabbitMQ 4 has no mirrored queues, so one node holds its jobs"


def policy(connection: Any, queue: str) -> Iterator[Finding]:
    """Whether a policy for ``queue`` and queues named alike buries or delays jobs that come back."""
    name = f"{queue}{PROBE}{secrets.token_hex(4)}"
    arguments = {**job_queue(name).queue_arguments, "x-expires": PROBE_LIVES}
    for dead_letters in ("x-dead-letter-exchange", "x-dead-letter-strategy"):
        arguments.pop(dead_letters)
    with open_channel(connection) as channel:
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        try:
            channel.basic_publish(amqp.Message(b""), routing_key=name)
            returned, late = _returns(channel, name)
        finally:
            with contextlib.suppress(Exception):  # it goes by itself
                channel.queue_delete(name)
    if returned == TRIES and not late:
        yield Finding(
            "ok", "policy", f"a job of {queue} that comes back {TRIES} times is kept, and not delayed"
        )
    elif late:
        yield Finding(
            "warning",
            "policy",
            f"a message that returns to a queue like {queue} is not ready again at once: a policy delays it "
            "(delayed-retry-type), also the jobs of a worker that died.",
            "Remove delayed-retry-type from the policy: rabbitmqctl list_policies. Nightshift delays retries itself.",
        )
    else:
        yield Finding(
            "error",
            "policy",
            f"RabbitMQ drops a message that returns to a queue like {queue} {returned + 1} times: a policy sets "
            f"delivery-limit. Its returns include jobs that never began.",
            f"Set delivery-limit to {RETURNS} in the policy, or remove it there: rabbitmqctl list_policies. "
            f"The queue's own {DELIVERY_LIMIT} is {RETURNS}; the smaller of the two counts.",
        )


def _returns(channel: Any, name: str) -> tuple[int, bool]:
    """How often the message in the queue ``name`` came back, of ``TRIES`` times; and whether it is delayed."""
    if (message := _next(channel, name)) is None:
        raise TimeoutError("the message did not arrive in time")
    for returned in range(TRIES):
        channel.basic_reject(message.delivery_tag, requeue=True)
        if (message := _next(channel, name)) is None:
            return returned, returned == 0
    return TRIES, False


def _next(channel: Any, name: str) -> Any:
    until = time.monotonic() + RETURN_SECONDS
    while (message := channel.basic_get(name)) is None and time.monotonic() < until:
        time.sleep(0.01)
    return message


__all__ = ["deprecated", "policy", "priorities"]
