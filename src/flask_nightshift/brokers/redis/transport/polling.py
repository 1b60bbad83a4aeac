"""The polling connection of a channel: it has one command under way, or a wait and a claim.

The command is a claim, which the server answers at once, a wait, which it answers when a doorbell rings, or kombu's own
BRPOP. A wait may have a claim behind it: the server executes that as soon as it has answered the wait, so a job reaches
an idle worker with one reply instead of two. kombu's poller watches the connection and calls ``Consumer.start`` and
``Consumer.read``. A claim whose reply never came may have been executed, now or later; its owner treats it as such.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from kombu.transport.redis import _socket_readable
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from .acks import NOTHING, Batch
from .kombu_channel import KombuChannel
from .lease import Lease
from .raw_connection import packed

QUIET = 0.5
"""Seconds after which the server may have closed a connection that has no command under way (its ``timeout``)."""


class Asked(enum.Enum):
    """The command that is under way."""

    NOTHING = enum.auto()
    CLAIM = enum.auto()
    WAIT = enum.auto()
    BRPOP = enum.auto()


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim under way: for which lease, from which queues, the number of its first message, what it acknowledges.

    ``looks``: how often its consumer had been asked to look again when it was made. ``behind``: it waits behind a wait.
    """

    lease: Lease
    queues: tuple[str, ...]
    first: int
    size: int
    batch: Batch = NOTHING
    looks: int = 0
    behind: bool = False


class Polling:
    """Sends one command at a time, and reads its reply."""

    def __init__(self, kombu: KombuChannel) -> None:
        self._kombu = kombu
        self._sent_at = 0.0
        self.asked = Asked.NOTHING
        self.claim: Claim | None = None
        """The claim under way, alone or behind a wait."""

    def send(self, asked: Asked, command: Sequence[Any], claim: Claim | None = None) -> None:
        """Send ``command``; raises what redis-py does, after closing the connection."""
        connection = self._kombu.polling_connection()
        self._kombu.note_polling(connection)
        self.asked, self.claim, self._sent_at = asked, claim, monotonic()
        try:
            connection.send_packed_command(packed(command))
        except BaseException:
            connection.disconnect()
            raise

    def send_behind(self, command: Sequence[Any], claim: Claim) -> None:
        """Send the claim ``command`` behind the wait that is under way; raises as ``send`` does."""
        connection = self._kombu.polling_connection()
        self.claim = claim
        try:
            # with a look at its health, redis-py would take the wait's reply for the answer to its PING
            connection.send_packed_command(packed(command), check_health=False)
        except BaseException:
            connection.disconnect()
            raise

    @property
    def waits_alone(self) -> bool:
        """Whether a wait is under way, with no claim behind it."""
        return self.asked is Asked.WAIT and self.claim is None and self._kombu.is_polling

    def has_reply(self) -> bool:
        """Whether ``read`` would not have to wait."""
        return bool(self._kombu.polling_connection().can_read(timeout=0))

    def read(self) -> Any:
        """The next reply, to a claim or a wait.

        Raises what redis-py does; only ``NoScriptError`` leaves the connection open.
        """
        connection = self._kombu.polling_connection()
        try:
            reply = connection.read_response()
        except NoScriptError:
            self._done()
            raise
        except ResponseError as exc:  # the server cannot serve us now: read-only, full, shutting down, ...
            connection.disconnect()
            raise RedisConnectionError(f"cannot claim: {exc}") from exc
        except BaseException:
            connection.disconnect()
            raise
        if self.asked is Asked.WAIT and self.claim is not None:
            self.asked = Asked.CLAIM
            self._kombu.note_polling(connection)
        else:
            self._done()
            self._kombu.answered()
        return reply

    def leave(self) -> Claim | None:
        """Stop waiting for a reply and close the connection; the claim that was under way."""
        claim, self.claim = self.claim, None
        if self.asked in (Asked.CLAIM, Asked.WAIT):
            connection = self._kombu.polling_connection()
            self._done()
            connection.disconnect()
        return claim

    def disconnected(self) -> Claim | None:
        """The connection ended during a command: the claim that gets no reply."""
        claim, self.claim = self.claim, None
        if claim is not None:
            self.asked = Asked.NOTHING
        return claim

    def disconnect(self) -> None:
        """Close the connection."""
        self._kombu.polling_connection().disconnect()

    def drop_closed(self, connection: Any) -> None:
        """Close ``connection``, on which no command is under way, if the server has closed its end.

        Likewise one that leads to a former owner of a cluster's slot.
        """
        if connection is None:
            return
        if getattr(connection, "astray", False):
            connection.disconnect()
        if monotonic() - self._sent_at < QUIET:
            return
        sock = connection._sock  # noqa: SLF001 - redis-py has no public name for it
        if sock is not None and _socket_readable(sock):
            connection.disconnect()

    def _done(self) -> None:
        self._kombu.note_polling(None)
        self.asked, self.claim = Asked.NOTHING, None


__all__ = ["Asked", "Claim", "Polling"]
