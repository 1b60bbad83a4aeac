"""Requests with an ``Idempotency-Key``: a repeated one is answered with the first answer, and not done again.

The key belongs to the token and is remembered for a day. The row comes before the action. If the process ends in
between, or the broker or the database goes away, nobody knows what was done, and a repeated request is told so instead
of being done a second time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from ...operations import replies
from ...services import Services
from ...text.passwords import hide_password
from .problems import Problem

HEADER = "Idempotency-Key"
MOST_CHARACTERS = 200
UNKNOWN = 503
"""The status of an answer after which nobody knows what was done."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The answer to an earlier request, or None: this is the first one."""

    status: int
    body: str


class First:
    """The first request with a key; ``keep`` its answer, or ``forget`` it if nothing was done.

    An answer with the status 503 means that nobody knows.
    """

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
    if known.status == UNKNOWN:
        why = hide_password(known.body or "")[:500]
        raise Problem(
            409, "outcome-unknown", f"the first request with this {HEADER}, of {known.at:%F %T} UTC, failed half way "
            f"and may have been done: {why}. Look what it did (GET /audit), and use a new key if it has to be done",
        )  # fmt: skip
    return Repeat(known.status, known.body or "")


__all__ = ["HEADER", "UNKNOWN", "First", "Repeat", "begin"]
