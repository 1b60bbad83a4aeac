"""Celery's publish signals, sent once for each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import copy_context
from typing import Any

from celery import signals

from ..message.headers import HISTORY


def wanted() -> bool:
    """Whether there are receivers of the publish signals, who see a message and may change it."""
    return bool(signals.before_task_publish.receivers or signals.after_task_publish.receivers)


class PublishSignals:
    """``before_task_publish`` and ``after_task_publish`` for the ``messages`` of one publish.

    The two signals of a message share one context: a tracer opens a span in the first and closes it in the second.
    """

    def __init__(self, task: str, exchange: str, routing_key: str, messages: Sequence[Any]) -> None:
        self._about = {"sender": task, "exchange": exchange, "routing_key": routing_key}
        self._messages = messages
        receivers = signals.before_task_publish.receivers
        self._contexts = [copy_context() for _ in messages] if receivers else []

    def before(self, queue: Any) -> list[Any]:
        """Send the first signal; receivers may change the messages, and what no job can do without stays.

        Returns the entities that receivers want declared besides ``queue``.
        """
        declare, needed = [queue], [_needed(message.headers) for message in self._messages]
        for context, message in zip(self._contexts, self._messages, strict=False):
            context.run(
                signals.before_task_publish.send,
                body=message.body,
                declare=declare,
                headers=message.headers,
                properties=message.properties,
                retry_policy={},
                **self._about,
            )
        for message, headers in zip(self._messages, needed, strict=True):
            mend(message.headers, headers)
        return declare[1:]

    def after(self, at: int) -> None:
        """Send the second signal: the broker has confirmed the message with the index ``at``."""
        message = self._messages[at]
        if signals.after_task_publish.receivers:
            context = self._contexts[at] if self._contexts else copy_context()
            context.run(
                signals.after_task_publish.send, body=message.body, headers=message.headers, **self._about
            )


class KeepingProducer:
    """Celery's ``producer``, for the publish of one job: what the job needs of ``headers`` stays in its message."""

    def __init__(self, producer: Any, headers: Mapping[str, Any]) -> None:
        self._producer = producer
        self._needed: dict[str, Any] | None = _needed(headers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish the job; a later call publishes something else, such as an event."""
        if self._needed is not None:
            mend(options["headers"], self._needed)
        found = self._producer.publish(body, **options)
        self._needed = None
        return found


def mend(headers: dict[str, Any], needed: Mapping[str, Any]) -> None:
    """Put back what receivers took out of ``headers`` although the job needs it, or replaced by another type."""
    for name, value in needed.items():
        if type(headers.get(name)) is not type(value):
            headers[name] = value


def _needed(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The id, without which nobody finds the job, its task, and our header, which has its lock, attempts and row."""
    return {name: headers[name] for name in ("id", "task", HISTORY)}


__all__ = ["KeepingProducer", "PublishSignals", "mend", "wanted"]
