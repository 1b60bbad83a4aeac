"""kombu's consumer of a worker's jobs, which leaves paused queues out.

A paused queue stays on kombu's list. So whatever consumes anew (a reconnect, autoscale, ``add_consumer``) does not end
a pause, and its end consumes only what the worker is to consume.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any

from kombu import Consumer


class TaskConsumer(Consumer):  # type: ignore[misc,unused-ignore]
    """Consumes all of its queues that are not ``paused``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.paused: Set[str] = frozenset()
        """The names of the queues not to consume. Before ``consume`` it can be set; later, ``pause`` changes it."""
        self._queue_of_tag: dict[str, str] = {}
        super().__init__(*args, **options)

    def queue_of(self, tag: str) -> str | None:
        """The queue of a consumer tag, also of one that was cancelled: its last messages may yet come."""
        return self._queue_of_tag.get(tag)

    def pause(self, paused: Set[str], cancel: Callable[[Any, str], object]) -> None:
        """Consume all queues but those, from now on; ``cancel(channel, tag)`` ends a consumer."""
        self.paused = paused
        for name in paused & self._active_tags.keys():
            self._active_queue_no_ack.pop(name, None)
            cancel(self.channel, self._active_tags.pop(name))
        self.consume()

    def _basic_consume(self, queue: Any, *args: Any, **options: Any) -> Any:
        return None if queue.name in self.paused else super()._basic_consume(queue, *args, **options)

    def _add_tag(self, queue: Any, *args: Any) -> Any:
        tag = super()._add_tag(queue, *args)
        self._queue_of_tag[tag] = queue.name
        return tag


__all__ = ["TaskConsumer"]
