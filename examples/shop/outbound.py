"""Connects to hosts that a stranger chose: only to checked addresses, and only until a deadline.

httpcore asks a ``NetworkBackend`` for each connection, so names become addresses only here. A name is resolved once,
and we call the address that we checked, so DNS rebinding (a name that changes its address after the check) has no
effect.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import structlog

from .addresses import Address, is_public, literal, resolve

log = structlog.get_logger(__name__)
PIECE = 16_384
"""Bytes to write between two checks of the deadline."""


class NotCallable(Exception):
    """The host has no address that we call. The message does not say why, because strangers see it."""


class Deadline:
    """A deadline, ``seconds`` from now."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def left(self, error: type[Exception]) -> float:
        """The remaining seconds; raises ``error`` if none remain."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise error("the call took too long")
        return left


class Outbound(httpcore.NetworkBackend):
    """Connects until ``deadline``; to public addresses only, unless ``allow_private``."""

    def __init__(self, deadline: Deadline, *, allow_private: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline is stricter
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers.

        Raises ``NotCallable`` for a name that is unknown or not public, else httpcore's errors.
        """
        problem: Exception | None = None
        for address in self._addresses(host):
            left = self._deadline.left(httpcore.ConnectTimeout)
            try:
                stream = self._backend.connect_tcp(str(address), port, left, local_address, socket_options)
            except httpcore.ConnectError as exc:
                problem = exc  # the next address may answer
            else:
                return _Stream(stream, self._deadline)
        raise problem or httpcore.ConnectError("there is no address")

    def _addresses(self, host: str) -> list[Address]:
        spelt = literal(host)
        try:
            found = [spelt] if spelt else resolve(host, self._deadline.left(httpcore.ConnectTimeout))
        except OSError as exc:
            log.warning("hook.not_resolved", host=host, error=str(exc))
            raise NotCallable(host) from exc
        # one private address is enough to refuse, because any of them may be called
        if not self._allow_private and not all(map(is_public, found)):
            log.warning("hook.not_public", host=host, addresses=[str(address) for address in found])
            raise NotCallable(host)
        return found


class _Stream(httpcore.NetworkStream):
    """A connection whose steps all end at the deadline, so a partner cannot gain time by sending single bytes."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        for start in range(0, len(buffer), PIECE):
            left = self._deadline.left(httpcore.WriteTimeout)
            self._stream.write(buffer[start : start + PIECE], left)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
