"""Names of OpenTelemetry's semantic conventions for messaging, which are in development, so no stable package has them.

A test compares them with the package ``opentelemetry-semantic-conventions``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from ..config.cluster_url import is_cluster, nodes

SYSTEM = "messaging.system"
DESTINATION = "messaging.destination.name"
OPERATION_NAME, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
MESSAGE_ID, CONVERSATION_ID = "messaging.message.id", "messaging.message.conversation_id"
BATCH_COUNT = "messaging.batch.message_count"
CLIENT_ID = "messaging.client.id"
ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
ERROR_TYPE = "error.type"
SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"
EXCEPTION, EXCEPTION_TYPE = "exception", "exception.type"
EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE = "exception.message", "exception.stacktrace"

CREATE, SEND, PROCESS = "create", "send", "process"
"""Operations: their types, and their names too."""

SENT, CONSUMED = "messaging.client.sent.messages", "messaging.client.consumed.messages"
OPERATION_DURATION, PROCESS_DURATION = "messaging.client.operation.duration", "messaging.process.duration"
BOUNDARIES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Boundaries of the buckets of both durations, in seconds."""

TASK, ATTEMPT, OUTCOME = "nightshift.task", "nightshift.attempt", "nightshift.outcome"
"""Our own attributes: the name of the task, the number of the attempt, how it ended."""

RABBITMQ = "rabbitmq"
_SYSTEMS = {"amqp": RABBITMQ, "amqps": RABBITMQ, "pyamqp": RABBITMQ, "memory": "memory"}


class Place(NamedTuple):
    """Where the messages are: ``attributes`` of every span and metric."""

    attributes: dict[str, str | int]

    def of(self, queue: str, operation: str) -> dict[str, str | int]:
        """The attributes of an operation on ``queue``."""
        return {
            **self.attributes,
            OPERATION_NAME: operation,
            OPERATION_TYPE: operation,
            DESTINATION: queue,
        }

    def routed_by(self, key: str) -> dict[str, str]:
        """The attributes of a message with the routing key ``key``; they belong to spans, not to metrics."""
        return {ROUTING_KEY: key} if key and self.attributes.get(SYSTEM) == RABBITMQ else {}


def place(broker_url: str) -> Place:
    """The place that a broker's URL names; of several servers, the first. It has no address if that is unclear."""
    first = broker_url.partition(";")[0]
    scheme = first.partition("://")[0]
    found: dict[str, str | int] = {SYSTEM: _SYSTEMS.get(scheme, "redis")}
    with suppress(ValueError):
        host, port = _server(first, scheme)
        if host:
            found[SERVER_ADDRESS] = host
        if port:
            found[SERVER_PORT] = port
    return Place(found)


def _server(url: str, scheme: str) -> tuple[str | None, int | None]:
    """Host or socket, and port, if it has them; raises ``ValueError``."""
    if scheme in ("embedded", "memory"):
        return None, None
    if is_cluster(url):
        return nodes(url)[0]
    if scheme == "redis+socket":
        _, slash, path = url.partition("://")[2].partition("?")[0].partition("/")
        return slash + path, None
    parts = urlsplit(url)
    return parts.hostname, parts.port


__all__ = [
    "ATTEMPT",
    "BATCH_COUNT",
    "BOUNDARIES",
    "CLIENT_ID",
    "CONSUMED",
    "CONVERSATION_ID",
    "CREATE",
    "DESTINATION",
    "ERROR_TYPE",
    "EXCEPTION",
    "EXCEPTION_MESSAGE",
    "EXCEPTION_STACKTRACE",
    "EXCEPTION_TYPE",
    "MESSAGE_ID",
    "OPERATION_DURATION",
    "OPERATION_NAME",
    "OPERATION_TYPE",
    "OUTCOME",
    "PROCESS",
    "PROCESS_DURATION",
    "SEND",
    "SENT",
    "SERVER_ADDRESS",
    "SERVER_PORT",
    "SYSTEM",
    "TASK",
    "Place",
    "place",
]
