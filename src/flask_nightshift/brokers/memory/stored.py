"""A message of ``memory://``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ...message.codec import decode, encode
from ...message.headers import parse_time
from ...message.unique import Lock, to_claim


@dataclass(frozen=True, slots=True)
class Stored:
    """A message. ``priority`` 0 comes first; ``deliveries`` counts earlier ones; ``number`` is the delivery tag."""

    queue: str
    payload: bytes
    priority: int
    number: int
    deliveries: int = 0

    def older(self, seconds: float) -> Stored:
        """The message; a job that expires does so ``seconds`` sooner."""
        if b'"expires"' not in self.payload:
            return self
        body, headers = self._read()
        expires = parse_time(headers.get("expires"))
        if expires is None:
            return self
        body["headers"] = {**headers, "expires": (expires - timedelta(seconds=seconds)).isoformat()}
        return replace(self, payload=encode(body))

    def lock(self) -> Lock | None:
        """The lock that it holds if it is a unique job."""
        return to_claim(self._read()[1])

    def _read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The decoded message, and its headers; empty if it is no job."""
        try:
            body = decode(self.payload)
        except ValueError:
            return {}, {}
        headers = body.get("headers") if isinstance(body, dict) else None
        return (body, headers) if isinstance(headers, dict) else ({}, {})


__all__ = ["Stored"]
