"""Orders for all workers: the paused queues, which claims read, the tombstones, and the number of the last order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ...domain.orders import Ordered, Pause
from ...domain.tombstones import Tombstone
from ...message.codec import decode, encode
from .queues import Queues
from .transport import scripts


class RedisOrders:
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[Queues], Any]], Any]) -> None:
        self._ask = ask

    def read(self, since: int) -> Ordered | None:
        """In one script."""
        reply: list[Any] | None = self._ask(lambda queues: _run(queues, scripts.READ_ORDERS, str(since)))
        if reply is None:
            return None
        number, paused, stones = reply
        pauses = _pauses(dict(zip(paused[::2], paused[1::2], strict=True)))
        return Ordered(number=int(number), pauses=pauses, tombstones=tuple(map(_tombstone, stones)))

    def pause(self, pause: Pause) -> Pause | None:
        """In one script."""
        written = encode([pause.at.isoformat(), pause.by, pause.reason])
        return self._order(pause.queue, written)

    def resume(self, queue: str) -> Pause | None:
        """In one script."""
        return self._order(queue, b"")

    def pauses(self) -> dict[str, Pause]:
        """The whole hash."""
        return _pauses(self._ask(lambda queues: queues.client.hgetall(queues.keys.paused)))

    def cancel(self, tombstones: Sequence[Tombstone]) -> None:
        """In one script."""
        members = [_member(each) for each in tombstones]
        if members:
            self._ask(lambda q: scripts.CANCEL.run(q.client, [q.keys.orders, q.keys.tombstones], members))

    def tombstones(self) -> list[Tombstone]:
        """The whole set."""
        members: list[bytes] = self._ask(lambda q: q.client.zrange(q.keys.tombstones, 0, -1))
        return [_tombstone(member) for member in members]

    def count_tombstones(self) -> int:
        """The size of the set."""
        return int(self._ask(lambda q: q.client.zcard(q.keys.tombstones)))

    def remove_tombstones(self, tombstones: Sequence[Tombstone]) -> None:
        """In one command."""
        members = [_member(each) for each in tombstones]
        if members:
            self._ask(lambda q: q.client.zrem(q.keys.tombstones, *members))

    def _order(self, queue: str, written: bytes) -> Pause | None:
        former: bytes | None = self._ask(lambda queues: _run(queues, scripts.PAUSE, queue, written))
        return _pause(queue, former) if former else None


def _run(queues: Queues, script: scripts.Script, *args: scripts.Arg) -> Any:
    keys = queues.keys
    return script.run(queues.client, [keys.orders, keys.paused, keys.tombstones], args)


def _pauses(found: dict[bytes, bytes]) -> dict[str, Pause]:
    named = {queue.decode(): written for queue, written in found.items()}
    return {queue: _pause(queue, named[queue]) for queue in sorted(named)}


def _pause(queue: str, written: bytes) -> Pause:
    at, by, reason = decode(written)
    return Pause(queue, datetime.fromisoformat(at), by, reason)


def _member(each: Tombstone) -> bytes:
    """A tombstone as JSON, the same each time, so that whoever has read it can remove it."""
    return encode([each.job_id, each.at.isoformat(), each.expires_at.isoformat(), each.kill, each.by])


def _tombstone(member: bytes) -> Tombstone:
    job_id, at, expires_at, kill, by = decode(member)
    return Tombstone(job_id, datetime.fromisoformat(at), datetime.fromisoformat(expires_at), kill, by)


__all__ = ["RedisOrders"]
