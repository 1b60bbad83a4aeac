"""Connections that lead to the owner of one slot of a Redis Cluster, wherever that is by now.

To the rest of the transport a cluster is one server. A node that does not serve the slot refuses a command before it
does anything, so a connection repeats a command that was refused:

    MOVED        at the new owner
    ASK          at the node to which the slot is being moved, because the key is there already
    TRYAGAIN     here, a moment later: the slot is being moved, and some of the command's keys are there already
    CLUSTERDOWN  at the owner, a moment later: its master is gone, and no replica has taken over yet

After ``PATIENCE`` seconds, and at once for a pipeline or for a connection that an event loop watches, the refusal
becomes ``SlotAway``, a connection error: the caller connects anew and tries again, as after any lost connection.

A publish that was refused for some time ends in time all the same: no later step takes longer than what is left to it.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from redis import Connection, SSLConnection
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ...failures import STEP, left
from .slot_owner import SHORTEST, SlotOwner, connected

PATIENCE = 1.2
"""Seconds for which a refused command is repeated, but for a publish."""
PAUSE = 0.03
REFUSALS = (AskError, TryAgainError, ClusterDownError)  # a MovedError is an AskError


class SlotAway(RedisConnectionError):
    """The owner of the slot refused a command: the slot is being moved, or no node serves it."""


class SlotConnection(Connection):
    """A connection to the owner of ``owner``'s slot; ``follows``: it repeats refused commands by itself."""

    plain: type[Connection] = Connection

    def __init__(self, *, owner: SlotOwner, follows: bool = True, **options: Any) -> None:
        self._owner, self._follows, self._options = owner, follows, options
        self._version = -1
        self._ready = self._many = self._hasty = False
        self._sent: Any = None
        super().__init__(**options)  # type: ignore[no-untyped-call]

    # connecting
    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        """Connect to the owner, if this connection does not lead there already."""
        if self.astray or (self._hasty and self._rest() is None):
            self.disconnect()  # type: ignore[no-untyped-call]
        if self._sock:
            return
        self._ready = False
        self._version = self._owner.version
        self.host, self.port = self._owner.address(self._options, self.plain)
        self._version = self._owner.version
        whole = self.socket_timeout, self.socket_connect_timeout
        rest = self._rest()
        self._hasty = rest is not None
        if rest is not None:
            self.socket_timeout = self.socket_connect_timeout = rest
        try:
            super().connect_check_health(*args, **kwargs)
        except (OSError, RedisError):
            self._owner.doubt((self.host, self.port))
            raise
        finally:
            self.socket_timeout, self.socket_connect_timeout = whole
        self._ready = True

    def _rest(self) -> float | None:
        """The seconds that the next step may take, if that is less than usual."""
        usual = self.socket_timeout or STEP
        rest = left(usual)
        return max(rest, SHORTEST) if rest < usual else None

    @property
    def astray(self) -> bool:
        """Whether it leads to a former owner."""
        return bool(self._ready and self._sock and self._version != self._owner.version)

    # commands
    def pack_commands(self, commands: Any) -> Any:
        """Pack a pipeline. Of its commands some may have been done, so it is not repeated."""
        self._many = True
        return super().pack_commands(commands)  # type: ignore[no-untyped-call]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send ``command`` to the owner."""
        many, self._many = self._many, False
        if self._follows and self.astray:
            self.disconnect()  # type: ignore[no-untyped-call]
        super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]
        self._sent = None if many else command

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """The reply, of whichever node serves the command; raises ``SlotAway`` besides what redis-py does."""
        until = time.monotonic() + left(PATIENCE)
        while True:
            try:
                return self._reply(args, kwargs)
            except REFUSALS as exc:
                refusal = exc
            except (RedisConnectionError, RedisTimeoutError):
                self._owner.doubt((self.host, self.port))
                raise
            command = self._sent if self._follows else None
            if type(refusal) is AskError and command is not None:
                with contextlib.suppress(*REFUSALS):
                    return self._ask(refusal, command, args, kwargs)
            self._note(refusal)
            if command is None or time.monotonic() > until:
                self.disconnect()  # type: ignore[no-untyped-call]
                what = f"{type(refusal).__name__}: {refusal}"
                raise SlotAway(f"slot {self._owner.slot} of {self._owner.tag}: {what}") from refusal
            if not isinstance(refusal, MovedError):
                time.sleep(PAUSE)
            self.send_packed_command(command, check_health=False)

    def _reply(self, args: Any, kwargs: Any) -> Any:
        """The reply of this node. A connection that was made in haste, with short time limits, ends with its first."""
        rest = self._rest()
        if rest is None or self._sock is None:
            return super().read_response(*args, **kwargs)
        self._sock.settimeout(rest)
        try:
            return super().read_response(*args, **kwargs)
        finally:
            if self._hasty and self._ready:
                self.disconnect()
            elif self._sock is not None:
                self._sock.settimeout(self.socket_timeout)

    def _note(self, refusal: Exception) -> None:
        here = self.host, self.port
        if isinstance(refusal, MovedError):
            self._owner.moved(refusal, here)
        elif isinstance(refusal, ClusterDownError):
            self._owner.doubt(here)
            self.disconnect()  # type: ignore[no-untyped-call]

    def _ask(self, refusal: AskError, command: Any, args: Any, kwargs: Any) -> Any:
        """The reply of the node that already has the command's key."""
        address = refusal.host or self.host, refusal.port
        seconds = self._rest() or self.socket_timeout or STEP
        with connected(address, self._options, self.plain, seconds) as there:
            there.send_command("ASKING")
            there.read_response()
            there.send_packed_command(command)
            return there.read_response(*args, **kwargs)


class SSLSlotConnection(SlotConnection, SSLConnection):
    """The same over TLS."""

    plain = SSLConnection


__all__ = ["SSLSlotConnection", "SlotAway", "SlotConnection"]
