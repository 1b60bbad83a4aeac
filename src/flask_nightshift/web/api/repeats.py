"""Requests with an ``Idempotency-Key``: a repeated one is answered with the first answer, and not done again.

The key belongs to the token and is remembered for a day. The row comes before the action. If the process ends in
between, nobody knows what was done, and a repeated request is told so instead of being done a second time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from ...operations import replies
from ...services import Services
from .problems import Problem

HEADER = "Idempotency-Key"
MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Repeat:
    """The answer to an earlier request, or None: this is the first one."""

    status: int
    body: str


class First:
    """The first request with a key; ``keep`` its answer, or ``forget`` it if nothing was done."""

    def __init__(self, services: Services, token: str, key: str) -> None:
        self._place = services, token, key

    def keep(self, status: int, body: str) -> None:
        """Remember the answer."""
        replies.keep(*self._place, status, body)

    def forget(self) -> None:
        """Let a repeated request be done."""
        replies.forget(*self._place)


def begin(services: Services, token: str, key: str, what: bytes, now: datetime) -> First | Repeat:
    """Note the request ``what``; raises ``Problem`` if its key stands for another, or for one that has no answer."""
    if not 1 <= len(key) <= MOST_CHARACTERS or not key.isascii() or not key.isprintable():
        raise Problem(
            422, "invalid-header", f"{HEADER}: use 1 to {MOST_CHARACTERS} printable ASCII characters"
        )
    digest = hashlib.sha256(what).hexdigest()
    known = replies.begin(services, token, key, digest, now)
    if known is None:
        return First(services, token, key)
    if known.request != digest:
        raise Problem(422, "key-reused", f"{HEADER} {key!r} was used for another request; use a new key")
    if known.status is None:
        raise Problem(
            409, "in-progress", f"the first request with this {HEADER}, of {known.at:%F %T} UTC, has no answer yet. If "
            "that lasts, it was interrupted: look what it did, and use a new key",
        )  # fmt: skip
    return Repeat(known.status, known.body or "")


__all__ = ["HEADER", "First", "Repeat", "begin"]
