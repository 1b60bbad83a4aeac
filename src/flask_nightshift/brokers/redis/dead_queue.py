"""Taking dead letters out of the list ``nightshift.dead`` on approval."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from kombu.compression import decompress

from ...domain.job import DeadLetter, Reason, utcnow
from ...errors import BrokerUnavailable
from ...message.headers import DEAD_QUEUE, dead_letter
from ..base import PendingDeadLetter
from ..failures import ERRORS
from .client import Keys


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dead letter that still stands in its list as ``raw``."""

    letter: DeadLetter
    client: redis.Redis
    key: str
    raw: bytes
    fail: Callable[[BaseException], BrokerUnavailable]

    def done(self) -> None:
        """Remove this very item, if another worker has not; raises ``BrokerUnavailable``."""
        try:
            self.client.lrem(self.key, -1, self.raw)  # type: ignore[arg-type]  # the stubs know only str
        except ERRORS as exc:
            raise self.fail(exc) from exc


_OLDEST = """
-- KEYS: the list. ARGV: how many at most, bytes after which no further one is read. Gives the oldest, oldest first.
local found, size = {}, 0
for at = 1, tonumber(ARGV[1]) do
  local raw = redis.call('LINDEX', KEYS[1], -at)
  if not raw then break end
  found[at] = raw
  size = size + #raw
  if size >= tonumber(ARGV[2]) then break end
end
return found
"""


def take(
    client: redis.Redis,
    keys: Keys,
    limit: int,
    max_bytes: int,
    fail: Callable[[BaseException], BrokerUnavailable],
) -> list[PendingDeadLetter]:
    """The ``limit`` oldest dead letters, without removing them: several workers may get the same ones."""
    taken: list[PendingDeadLetter] = []
    size = 0
    lists = keys.ready(DEAD_QUEUE)
    for key in lists if client.exists(*lists) else ():
        if len(taken) < limit and size < max_bytes:
            raws: Any = client.eval(_OLDEST, 1, key, limit - len(taken), max_bytes - size)
            taken += [_Taken(read(raw), client, key, raw, fail) for raw in raws]
            size += sum(map(len, raws))
    return taken


def read(raw: bytes) -> DeadLetter:
    """A dead letter from its JSON; what is not kombu's JSON is kept as it is."""
    try:
        payload = json.loads(raw)
        properties = payload.get("properties") or {}
        headers = dict(payload.get("headers") or {})
        return dead_letter(
            body(payload["body"], properties.get("body_encoding"), headers),
            headers,
            properties,
            payload.get("content-type"),
            payload.get("content-encoding"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return DeadLetter(
            id=hashlib.sha256(raw).hexdigest()[:32],
            reason=Reason.UNDECODABLE,
            at=utcnow(),
            queue="",
            job_id=None,
            task=None,
            failure=None,
            body=raw,
            content_type="application/octet-stream",
            content_encoding="binary",
        )


def body(encoded: Any, encoding: str | None, headers: dict[str, Any]) -> bytes:
    """The body as it was sent; ``compression`` leaves ``headers`` when it is undone."""
    raw = base64.b64decode(encoded, validate=True) if encoding == "base64" else str(encoded).encode()
    method = headers.get("compression")
    if method:
        try:
            raw = decompress(raw, method)
        except Exception:  # noqa: BLE001 - an unknown method or broken data: the letter is kept as it is
            return raw
        del headers["compression"]
    return raw
