"""What stands in kombu's lists: depth, age, the next jobs, purge."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import redis

from ...domain.job import utcnow
from ...message import headers as jobs
from ..base import QueueDepth
from .client import Keys
from .transport import keys as transport_keys
from .transport import queues


class Queues:
    """The queues of kombu's own transport, which keeps delayed and reserved jobs out of sight."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self.client = client
        self.keys = keys

    def depth(self, queue: str) -> QueueDepth:
        """Length, and for how long the oldest has been ready."""
        with self.client.pipeline(transaction=True) as pipe:
            for key in self.keys.ready(queue):
                pipe.llen(key)
                pipe.lindex(key, -1)
            answers = pipe.execute()
        return QueueDepth(queue, sum(answers[::2]), oldest=_age(answers[1::2]))

    def peek(self, queue: str, limit: int) -> list[dict[str, Any]]:
        """The next ready jobs."""
        found: list[dict[str, Any]] = []
        for key in self.keys.ready(queue):
            wanted = limit - len(found)
            if wanted > 0:
                raws: Any = self.client.lrange(key, -wanted, -1)
                found += [describe(raw) for raw in reversed(raws)]
        return found

    def purge(self, queue: str) -> int:
        """Delete the ready jobs; how many they were."""
        with self.client.pipeline(transaction=True) as pipe:
            for key in self.keys.ready(queue):
                pipe.llen(key)
                pipe.delete(key)
            return int(sum(pipe.execute()[::2]))


class LeaseQueues(Queues):
    """The queues of the lease transport, where delayed and leased jobs can be seen."""

    def depth(self, queue: str) -> QueueDepth:
        """All four numbers."""
        seen = super().depth(queue)
        delayed = queues.delayed_count(self.client, self.keys.prefix, queue)
        leased = queues.leased_count(self.client, self.keys.prefix, queue)
        return QueueDepth(queue, seen.ready, delayed, leased, seen.oldest)

    def purge(self, queue: str) -> int:
        """Delete the ready and the delayed jobs; how many they were."""
        key = transport_keys.delayed(self.keys.prefix, queue)
        with self.client.pipeline(transaction=True) as pipe:
            pipe.zcard(key)
            pipe.delete(key)
            count, _ = pipe.execute()
        return super().purge(queue) + int(count)


def describe(raw: bytes) -> dict[str, Any]:
    """``{"id", "task", "headers", "enqueued_at"}`` of a raw message; all empty if it cannot be read."""
    headers = _headers(raw)
    return {
        "id": headers.get("id"),
        "task": headers.get("task"),
        "headers": headers,
        "enqueued_at": jobs.history(headers).get("enqueued_at"),
    }


def _headers(raw: bytes | None) -> dict[str, Any]:
    try:
        headers = json.loads(raw or b"{}").get("headers")
    except (ValueError, AttributeError):
        return {}
    return headers if isinstance(headers, dict) else {}


def _ready_since(headers: dict[str, Any]) -> datetime | None:
    """When it was enqueued or replayed, or when its delay was over."""
    past = jobs.history(headers)
    times = [jobs.parse_time(text) for text in (past.get("enqueued_at"), past.get("due"), headers.get("eta"))]
    return max((moment for moment in times if moment is not None), default=None)


def _age(raws: Iterable[bytes | None]) -> float | None:
    """Seconds since the earliest of ``raws`` could start; None if none of them says."""
    times = [moment for raw in raws if (moment := _ready_since(_headers(raw))) is not None]
    return max(0.0, (utcnow() - min(times)).total_seconds()) if times else None
