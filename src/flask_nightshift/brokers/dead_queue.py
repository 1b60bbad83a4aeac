"""Taking dead letters out of RabbitMQ's ``nightshift.dead`` on approval."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ..job import DeadLetter
from ..lighter import unwrapped
from ..message import DEAD_QUEUE, dead_letter
from .base import PendingDeadLetter
from .failures import ERRORS
from .link import Fail, Link


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dead letter that is unacknowledged on this thread's channel."""

    letter: DeadLetter
    message: Any
    fail: Fail

    def done(self) -> None:
        """Acknowledge it; raises ``BrokerUnavailable`` if the channel is gone, and the letter comes back."""
        try:
            self.message.ack()
        except ERRORS as exc:
            raise self.fail(exc) from exc


class DeadQueue(threading.local):
    """The channel of this thread on the dead-letter queue: what is not ``done()`` goes back with its end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Any = None
        self._asking: Any = None

    def holds_any(self) -> bool:
        """Whether there is a letter to take; those of the last call of ``take`` that are not done go back before."""
        return self._link.call(self._count) > 0

    def take(self, limit: int, max_bytes: int) -> list[PendingDeadLetter]:
        """Up to ``limit`` letters, oldest first; those of the last call that are not done go back before."""
        return self._link.call(lambda connection: self._take(connection, limit, max_bytes))

    def close(self) -> None:
        """Forget the channels."""
        self._channel = self._asking = None

    def _return_rest(self, connection: Any) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and channel.connection is connection.connection:
            channel.close()

    def _count(self, connection: Any) -> int:
        self._return_rest(connection)
        channel, self._asking = self._asking, None
        if channel is None or channel.connection is not connection.connection:
            channel = connection.channel()
        try:
            found = channel.queue_declare(DEAD_QUEUE, passive=True)
        except connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 404:
                raise
            return 0  # nobody has died yet
        self._asking = channel
        return int(found.message_count)

    def _take(self, connection: Any, limit: int, max_bytes: int) -> list[PendingDeadLetter]:
        self._return_rest(connection)
        channel = connection.channel()
        channel.auto_decode = False  # bodies are kept as bytes
        taken: list[PendingDeadLetter] = []
        size = 0
        try:
            while len(taken) < limit and size < max_bytes:
                raw = channel.basic_get(DEAD_QUEUE, no_ack=False)
                if raw is None:
                    break
                taken.append(self._open(channel.message_to_python(raw)))
                size += len(taken[-1].letter.body)
        except connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 404:
                raise
            return []  # nobody has died yet
        self._channel = channel
        return taken

    def _open(self, message: Any) -> _Taken:
        body, headers, content_type, content_encoding = unwrapped(
            message.body, message.headers, message.content_type, message.content_encoding
        )
        letter = dead_letter(body, headers, message.properties, content_type, content_encoding)
        return _Taken(letter, message, self._link.fail)
