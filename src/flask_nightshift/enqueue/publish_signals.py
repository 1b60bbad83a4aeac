"""Celery's publish signals, sent once for each message."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import copy_context
from typing import Any

from celery import signals


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
        """Send the first signal; receivers may change the messages.

        Returns the entities that receivers want declared besides ``queue``.
        """
        declare = [queue]
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
        return declare[1:]

    def after(self, at: int) -> None:
        """Send the second signal: the broker has confirmed the message with the index ``at``."""
        message = self._messages[at]
        if signals.after_task_publish.receivers:
            context = self._contexts[at] if self._contexts else copy_context()
            context.run(
                signals.after_task_publish.send, body=message.body, headers=message.headers, **self._about
            )


__all__ = ["PublishSignals", "wanted"]
