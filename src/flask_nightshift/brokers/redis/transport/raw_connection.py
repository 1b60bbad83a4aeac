"""One connection to the server, without redis-py's client around it, which is half of what a command costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
from redis import ConnectionPool
from redis.exceptions import ResponseError

from ....lifetime.process import pid

_encode: Any = hiredis.pack_command  # annotated as if a command had one part


class RawConnection:
    """Sends commands over one connection of ``pool``, from one thread at a time; connects when it has to.

    No command is sent twice: whether that would do harm only the caller knows. A child of this process takes
    a connection of its own: on a shared one each would read the other's replies.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Any = None
        self._pid = 0

    def execute_command(self, *command: Any) -> Any:
        """Send ``command`` and give its reply; raises what redis-py does, ``RedisError`` or ``OSError``."""
        if self._pid != pid():
            self._connection, self._pid = self._pool.get_connection(), pid()
        try:
            self._connection.send_packed_command(packed(command))
            return self._connection.read_response()
        except ResponseError:
            raise
        except BaseException:  # interrupted, perhaps: its reply is not to be taken for the next command's
            self._connection.disconnect()
            raise


def packed(command: Sequence[str | bytes | int | float]) -> list[bytes]:
    """Encode ``command`` for the wire (RESP), as ``Connection.send_packed_command`` takes it.

    hiredis encodes it in a fraction of the time that redis-py's ``pack_command`` takes, even where that uses hiredis.
    """
    try:
        return [_encode(tuple(command))]
    except TypeError:  # hiredis refuses subclasses of str, such as a queue's name from a StrEnum
        return [_encode(tuple(part if type(part) is bytes else str(part) for part in command))]
