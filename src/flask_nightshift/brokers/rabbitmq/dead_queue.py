"""Takes dead letters from RabbitMQ's ``nightshift.dead``; each stays unacknowledged until it is archived."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from ...domain.job import DeadLetter
from ...message.burial import DEAD_QUEUE, dead_letter
from ...message.oversize import unwrapped
from ..base import PendingDeadLetter
from ..connections import Fail, ThreadConnection
from ..failures import errors


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dead letter that is unacknowledged on this thread's channel."""

    letter: DeadLetter
    message: Any
    fail: Fail
    unsettled: set[Any]

    def done(self) -> None:
        """Acknowledge it. Raises ``BrokerUnavailable`` if the channel is closed; then the letter comes back."""
        try:
            self.message.ack()
        except errors() as exc:
            raise self.fail(exc) from exc
        self.unsettled.discard(self.message.delivery_tag)


class DeadQueue(threading.local):
    """The channel of this thread to the dead-letter queue; when it closes, letters without ``done()`` go back.

    The channel stays open as long as all letters are done. A quorum queue applies acknowledgements with a delay, and
    loses those whose channel closes meanwhile, so archived letters would come back.
    """

    def __init__(self, connection: ThreadConnection) -> None:
        self._connection = connection
        self._channel: Any = None
        self._unsettled: set[Any] = set()

    def take(self, limit: int, max_bytes: int) -> list[PendingDeadLetter]:
        """Up to ``limit`` letters, oldest first; letters of the previous call without ``done()`` first go back."""
        return self._connection.call(lambda connection: self._take(connection, limit, max_bytes))

    def close(self) -> None:
        """Forget the channel."""
        self._channel = None

    def _take(self, connection: Any, limit: int, max_bytes: int) -> list[PendingDeadLetter]:
        channel = self._settled_channel(connection)
        taken: list[PendingDeadLetter] = []
        size = 0
        try:
            while len(taken) < limit and size < max_bytes:
                raw = channel.basic_get(DEAD_QUEUE, no_ack=False)
                if raw is None:
                    break
                message = channel.message_to_python(raw)
                self._unsettled.add(message.delivery_tag)
                taken.append(self._open(message))
                size += len(taken[-1].letter.body)
        except connection.channel_errors as exc:
            if getattr(exc, "reply_code", None) != 404:
                raise
            return []  # the queue does not exist yet
        self._channel = channel
        return taken

    def _settled_channel(self, connection: Any) -> Any:
        """The channel of the previous call if all its letters are done, else a new one."""
        channel, self._channel = self._channel, None
        if channel is not None and channel.connection is connection.connection and channel.is_open:
            if not self._unsettled:
                return channel
            channel.close()
        self._unsettled = set()
        channel = connection.channel()
        channel.auto_decode = False  # keep bodies as bytes
        return channel

    def _open(self, message: Any) -> _Taken:
        body, headers, content_type, content_encoding = unwrapped(
            message.body, message.headers, message.content_type, message.content_encoding
        )
        letter = dead_letter(body, headers, message.properties, content_type, content_encoding)
        return _Taken(letter, message, self._connection.fail, self._unsettled)
