"""The locks of unique jobs: a hash for each. Publishing claims them; acknowledging and burying a job release them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from ...domain.job import utcnow
from ...message.unique import Lock
from ..locks import LocksInBroker
from ..values import HeldLock
from .queues import Queues

T = TypeVar("T")
_AT_ONCE = 500


class RedisLocks(LocksInBroker):
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[Queues], Any]], Any]) -> None:
        self._ask = ask

    def begin(self, message: Any, lock: Lock) -> str:
        """In one script; raises what redis-py does."""
        return str(message.channel.begin_unique(message.delivery_tag, lock))

    def replaced_by(self, job_id: str) -> str:
        """'?': the broker remembers that it was replaced, and not by which job."""
        known = self._ask(lambda queues: queues.client.zscore(queues.keys.replaced, job_id))
        return "" if known is None else "?"

    def held(self, limit: int, after: str = "") -> list[HeldLock]:
        """Up to ``limit`` locks, by key, after the key ``after``."""
        return list(self._ask(lambda queues: _held(queues, limit, after)))

    def release(self, key: str) -> HeldLock | None:
        """Delete the lock, whoever holds it."""
        found: HeldLock | None = self._ask(lambda queues: _release(queues, key))
        return found


def _held(queues: Queues, limit: int, after: str) -> list[HeldLock]:
    prefix = queues.keys.lock("")
    pattern = _escaped(prefix) + "*"
    begin = (prefix + after).encode("utf-8", "surrogatepass")
    every = {bytes(name) for name in queues.client.scan_iter(match=pattern, count=_AT_ONCE)}
    names = sorted(name for name in every if name > begin)[:limit]
    found = []
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        with queues.client.pipeline(transaction=False) as pipe:
            for name in some:
                pipe.hgetall(name)
                pipe.pttl(name)
            replies = pipe.execute()
        for name, fields, left in zip(some, replies[::2], replies[1::2], strict=True):
            if fields:  # else it has just ended
                found.append(_read(name.decode()[len(prefix) :], fields, left))
    return found


def _release(queues: Queues, key: str) -> HeldLock | None:
    name = queues.keys.lock(key)
    with queues.client.pipeline(transaction=True) as pipe:
        pipe.hgetall(name)
        pipe.pttl(name)
        pipe.delete(name)
        fields, left, _ = pipe.execute()
    return _read(key, fields, left) if fields else None


def _read(key: str, fields: Mapping[bytes, bytes], left: int) -> HeldLock:
    def moment(name: bytes) -> datetime | None:
        value = fields.get(name)
        return datetime.fromtimestamp(float(value), UTC) if value else None

    return HeldLock(
        key,
        fields.get(b"id", b"").decode(),
        fields.get(b"task", b"").decode(),
        fields.get(b"until", b"").decode(),
        moment(b"at") or utcnow(),
        utcnow() + timedelta(milliseconds=max(left, 0)),
        moment(b"started"),
    )


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\^-" else letter for letter in text)


__all__ = ["RedisLocks"]
