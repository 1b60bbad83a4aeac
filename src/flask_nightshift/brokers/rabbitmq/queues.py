"""Counts and purges ready messages in RabbitMQ's queues."""

from __future__ import annotations

from typing import Any

from ...message.burial import DEAD_QUEUE
from . import topology
from .fast_declare import open_channel


def all_of(queue: str) -> tuple[str, ...]:
    """The RabbitMQ queues of the job queue ``queue``: itself and its quarantine queue."""
    return (queue,) if queue == DEAD_QUEUE else (queue, f"{topology.QUARANTINE}{queue}")


def purge(connection: Any, queue: str) -> int:
    """Delete the ready messages of ``queue``; returns their number."""
    if not ready(connection, queue):
        return 0
    with open_channel(connection) as channel:
        return int(channel.queue_purge(queue))


def ready(connection: Any, queue: str) -> int:
    """The number of ready messages in ``queue``; 0 if it does not exist."""
    try:
        with open_channel(connection) as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors as exc:
        if getattr(exc, "reply_code", None) == 404:
            return 0
        raise
