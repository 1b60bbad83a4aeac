"""One connection to the server, without redis-py's client around it, which is half of what a command costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import ConnectionPool


class Wire:
    """Sends commands over one connection of ``pool``, from one thread at a time; connects when it has to.

    No command is sent twice: whether that would do harm only the caller knows.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: Any = pool.get_connection()

    def execute_command(self, *command: Any) -> Any:
        """Send ``command`` and give its reply; raises what redis-py does, ``RedisError`` or ``OSError``."""
        self._connection.send_packed_command(packed(command))
        return self._connection.read_response()


def packed(command: Sequence[str | bytes | int | float]) -> list[bytes]:
    """``command`` as it goes over the wire (RESP), in one piece, for ``Connection.send_packed_command``.

    redis-py's own packing takes several times as long.
    """
    parts = [b"*%d\r\n" % len(command)]
    for part in command:
        data = part if type(part) is bytes else str(part).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return [b"".join(parts)]
