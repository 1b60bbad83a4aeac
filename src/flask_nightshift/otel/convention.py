"""Names of OpenTelemetry's semantic conventions for messaging, which are in development, so no stable package has them.

A test compares them with the package ``opentelemetry-semantic-conventions``.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

SYSTEM = "messaging.system"
DESTINATION = "messaging.destination.name"
OPERATION_NAME, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
MESSAGE_ID, CONVERSATION_ID = "messaging.message.id", "messaging.message.conversation_id"
BATCH_COUNT = "messaging.batch.message_count"
CLIENT_ID = "messaging.client.id"
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

_SYSTEMS = {"amqp": "rabbitmq", "amqps": "rabbitmq", "pyamqp": "rabbitmq", "memory": "memory"}


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


def place(broker_url: str) -> Place:
    """The place that a broker's URL names; of several servers, the first."""
    first = broker_url.split(";")[0]
    scheme = first.partition("://")[0]
    found: dict[str, str | int] = {SYSTEM: _SYSTEMS.get(scheme, "redis")}
    if scheme in ("embedded", "memory"):
        return Place(found)
    parts = urlsplit(first)
    if scheme == "redis+socket":
        return Place({**found, SERVER_ADDRESS: parts.path})
    if parts.hostname:
        found[SERVER_ADDRESS] = parts.hostname
    if parts.port:
        found[SERVER_PORT] = parts.port
    return Place(found)


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
