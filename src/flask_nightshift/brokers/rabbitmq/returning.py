"""What goes back to its queue uncounted: RabbitMQ counts each message that it returns itself, so a copy goes."""

from __future__ import annotations

from typing import Any

from ...message import headers as message_headers
from ...message.envelope import Envelope, envelope_of
from . import topology


def queue_of(message: Any) -> str:
    """The queue from which a worker got ``message``; it may be a quarantine queue."""
    key = str(message.delivery_info.get("routing_key") or "")
    return key if key.startswith(topology.QUARANTINE) else str(message.job_queue)


def copy_of(message: Any) -> Envelope:
    """The message to publish in place of ``message``, with the same count of deliveries."""
    headers = message_headers.job_headers(message.headers)
    if count := message_headers.deliveries(message.headers):
        headers[message_headers.DELIVERIES] = count
    return envelope_of(message, headers)


__all__ = ["copy_of", "queue_of"]
