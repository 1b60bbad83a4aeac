"""What stands ready in RabbitMQ's queues."""

from __future__ import annotations

from typing import Any

from ...message.burial import DEAD_QUEUE
from . import topology
from .declaring import open_channel


def all_of(queue: str) -> tuple[str, ...]:
    """The queues in which jobs of ``queue`` wait."""
    return (queue,) if queue == DEAD_QUEUE else (queue, f"{topology.ASIDE}{queue}")


def purge(connection: Any, queue: str) -> int:
    """Delete the ready messages of ``queue``; how many they were."""
    if not ready(connection, queue):
        return 0
    with open_channel(connection) as channel:
        return int(channel.queue_purge(queue))


def ready(connection: Any, queue: str) -> int:
    """The messages that stand ready in ``queue``, 0 if there is no such queue."""
    try:
        with open_channel(connection) as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors as exc:
        if getattr(exc, "reply_code", None) == 404:
            return 0
        raise
