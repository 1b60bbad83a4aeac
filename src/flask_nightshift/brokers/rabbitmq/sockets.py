"""One send or receive on a connection's socket, in as few system calls as its kind allows.

py-amqp sets a timeout before each step and takes it back after it. On a plain socket a flag of the call does the same.
Sockets of TLS and of gevent keep py-amqp's way.
"""

from __future__ import annotations

import _socket
import math
import select
import socket
from contextlib import suppress
from typing import Any

from amqp.exceptions import RecoverableConnectionError

_NO_WAIT = getattr(socket, "MSG_DONTWAIT", None)


class Line:
    """The socket of one py-amqp ``transport``."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._plain = _NO_WAIT is not None and _is_plain(transport.sock)
        self._readable = select.poll() if self._plain else None
        if self._readable is not None:
            self._readable.register(transport.sock.fileno(), select.POLLIN)

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of ``data`` within ``timeout`` seconds (None: the connection's own limit)."""
        sent = 0
        if self._plain and timeout is not None:
            with suppress(OSError):  # py-amqp's way meets the same error, or waits
                sent = self._socket.send(data, _NO_WAIT)
            if sent == len(data):
                return
        with self._transport.having_timeout(timeout):
            self._transport.write(memoryview(data)[sent:] if sent else data)

    def receive(self, most: int, timeout: float | None) -> bytes:
        """Up to ``most`` bytes; raises ``TimeoutError`` if there are none within ``timeout`` seconds."""
        try:
            data = self._receive(most, timeout)
        except BlockingIOError:
            raise TimeoutError("timed out") from None
        except TimeoutError:
            raise
        except OSError:
            self._transport.connected = False
            raise
        if not data:
            self._transport.connected = False
            raise OSError("Server unexpectedly closed connection")
        return data

    def _receive(self, most: int, timeout: float | None) -> bytes:
        if self._readable is None or timeout is None:
            with self._transport.having_timeout(timeout):
                return self._socket.recv(most)
        connected = self._socket
        if timeout and not self._readable.poll(math.ceil(timeout * 1000)):
            raise TimeoutError("timed out")
        return connected.recv(most, _NO_WAIT)

    @property
    def _socket(self) -> Any:
        if self._transport.sock is None:
            raise RecoverableConnectionError("connection already closed")
        return self._transport.sock


def _is_plain(connected: Any) -> bool:
    """Whether it is a socket of the standard library, without TLS, and not one of gevent's or eventlet's."""
    return isinstance(connected, _socket.socket) and type(connected).recv is _socket.socket.recv


__all__ = ["Line"]
