"""A deadline for a PostgreSQL connection that has stopped answering.

A frozen server, or a network that drops packets, keeps a connection open and silent. psycopg would wait for ever, and a
server-side ``statement_timeout`` does not help if the server does not run. Another thread shuts the socket down, and
the waiting call fails at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def deadline(connection: Any, seconds: float) -> Iterator[None]:
    """Shut the socket of ``connection`` (a psycopg connection) down if the block takes longer than ``seconds``."""
    cutter = _Cutter(connection.fileno())
    timer = threading.Timer(seconds, cutter.cut)
    timer.daemon = True
    # an interpreter that is shutting down starts no thread: continue without a deadline
    with contextlib.suppress(RuntimeError):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        cutter.disarm()


class _Cutter:
    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._lock = threading.Lock()

    def cut(self) -> None:
        with self._lock:
            if self._descriptor is None:
                return
            # a duplicate, so closing it leaves the original descriptor to its owner
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._descriptor)) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    def disarm(self) -> None:
        # under the lock, because the descriptor's number may belong to another connection afterwards
        with self._lock:
            self._descriptor = None


__all__ = ["deadline"]
