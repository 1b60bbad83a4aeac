"""One connection to the server, without redis-py's client around it, which is half of what a command costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from redis import ConnectionPool
from redis.exceptions import ResponseError


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
        if self._pid != os.getpid():
            self._connection, self._pid = self._pool.get_connection(), os.getpid()
        try:
            self._connection.send_packed_command(packed(command))
            return self._connection.read_response()
        except ResponseError:
            raise
        except BaseException:  # interrupted, perhaps: its reply is not to be taken for the next command's
            self._connection.disconnect()
            raise


def packed(command: Sequence[str | bytes | int | float]) -> list[bytes]:
    """``command`` as it goes over the wire (RESP), in one piece, for ``Connection.send_packed_command``.

    redis-py's own packing takes several times as long.
    """
    parts = [b"*%d\r\n" % len(command)]
    for part in command:
        data = part if type(part) is bytes else str(part).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return [b"".join(parts)]
