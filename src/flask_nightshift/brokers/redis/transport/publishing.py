"""Publishing: kombu's own JSON on kombu's own lists.

What is new: a message that is due later goes to the delayed set of its queue, a doorbell is rung, many go in one
step, and a publish that is repeated because its answer was cut off does nothing.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Sequence
from time import time
from typing import Any

from kombu.transport import redis

from ....message.codec import encode
from ... import payload
from . import keys, scripts
from .lease import Destination
from .raw_connection import RawConnection

Once = tuple[str, int]
"""The name of a publisher, which publishes one after the other, and the number of a publish of its."""
_TAGS = secrets.token_hex(8)
_TAG_NUMBERS = itertools.count()


class PublishingMixin:
    """The publishing half of a channel; needs the rest of it (``channel.LeaseMixin``)."""

    def _init_publishing(self: Any) -> None:
        self._publish_connection: RawConnection | None = None

    def _next_delivery_tag(self) -> str:
        """Unlike any other's, for kombu's own consumers; a random one costs a system call for each message."""
        return f"{_TAGS}.{os.getpid()}.{next(_TAG_NUMBERS)}"

    def destination(self: Any, queue: str, step: int) -> Destination:
        """The keys of a queue and priority step."""
        prefix = self.global_keyprefix
        ready = keys.ready(prefix, queue, step, self.sep)
        return Destination(ready, keys.delayed(prefix, queue), keys.bell(prefix, queue))

    def _put(self: Any, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        due, step = self._when(message)
        if (batch := kwargs.get("_publish_batch")) is not None:
            batch.ring(queue)
            if due > time():
                batch.add("zadd", keys.delayed("", queue), {b"%d|%s" % (step, encode(message)): due})
                return
        if batch is not None or (self._expires and queue in self._expires):
            super()._put(queue, message, **kwargs)  # type: ignore[misc]  # a mixin
            return
        self._publish(queue, step, due, [encode(message)], kwargs.get("once"))

    def _when(self: Any, message: dict[str, Any]) -> tuple[float, int]:
        """When ``message`` is due (unix seconds; 0: at once), and on which priority step."""
        return payload.due(message) or 0.0, self.priority(self._get_message_priority(message, reverse=False))

    def _publish(
        self: Any, queue: str, step: int, due: float, payloads: Sequence[bytes], once: Once | None
    ) -> None:
        if self._publish_connection is None:
            self._publish_connection = RawConnection(self.pool)
        to = self.destination(queue, step)
        where, number = [to.ready, to.delayed, to.bell], 0
        if once is not None:
            name, number = once
            where.append(keys.publisher(self.global_keyprefix, name))
        scripts.PUBLISH.run(self._publish_connection, where, [f"{due:.6f}", step, number, *payloads])

    def basic_publish_many(
        self: Any, messages: Sequence[dict[str, Any]], queue: str, once: Once | None = None
    ) -> None:
        """Publish up to some hundred ``messages`` to ``queue`` in one step, all or none.

        They are made by ``prepare_message``, and are all of one priority and due time. ``once``, here and as an
        option of ``basic_publish``, makes a publish that is repeated, because its answer was cut off, do nothing.
        """
        due, step = self._when(messages[0])
        for message in messages:
            self._inplace_augment_message(message, "", queue)
        self._publish(queue, step, due, [encode(message) for message in messages], once)

    def create_publish_batch(self: Any, max_size: int) -> PublishBatch:
        """Many publishes in one pipeline."""
        return PublishBatch(self, max_size)


class PublishBatch(redis.PublishBatch):
    """kombu's batch, which also rings."""

    def __init__(self, channel: Any, max_size: int) -> None:
        super().__init__(channel, max_size)
        self._bells: set[str] = set()

    def ring(self, queue: str) -> None:
        """There will be something in ``queue``."""
        self._bells.add(queue)

    def flush(self) -> None:
        """Execute the pending commands, with one ring per queue at the end."""
        if self._buffered:
            for queue in self._bells:
                key = keys.bell(self.channel.global_keyprefix, queue)
                # commands that kombu's prefixing pipeline leaves as they are
                self.pipeline.execute_command(*scripts.RING.by_source([key], []))
            self._bells.clear()
        super().flush()
