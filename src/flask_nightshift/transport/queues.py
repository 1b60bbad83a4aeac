"""A look at a queue from outside, for operators: depth, what is next, what is delayed.

``client`` is a redis-py client that prefixes nothing; ``prefix`` is kombu's ``global_keyprefix``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from kombu.utils.json import dumps
from redis import Redis

from . import keys, payload, scripts

PAGE = 500


def ready_depth(client: Redis, prefix: str, queue: str, steps: Sequence[int]) -> int:
    """How many messages can start at once."""
    with client.pipeline(transaction=True) as pipe:
        for step in steps:
            pipe.llen(keys.ready(prefix, queue, step))
        return int(sum(pipe.execute()))


def delayed_count(client: Redis, prefix: str, queue: str) -> int:
    """How many wait for their time."""
    answer: Any = client.zcard(keys.delayed(prefix, queue))
    return int(answer)


def leased_count(client: Redis, prefix: str, queue: str) -> int:
    """How many are in workers' hands, running or prefetched."""
    answer: Any = client.hget(keys.leased(prefix), queue)
    return int(answer or 0)


def delayed_list(
    client: Redis, prefix: str, queue: str, limit: int
) -> list[tuple[str, float, dict[str, Any]]]:
    """The next delayed messages: ``(job id, due in unix seconds, payload)``, the soonest first."""
    found: Any = client.zrange(keys.delayed(prefix, queue), 0, limit - 1, withscores=True)
    return [(_id(message), float(due), message) for member, due in found if (message := _message(member))]


def cancel_delayed(client: Redis, prefix: str, queue: str, job_id: str) -> dict[str, Any] | None:
    """Take the delayed job out; its payload, or None if it is not (any more) delayed."""
    member = _find(client, prefix, queue, job_id)
    if member is None or not client.zrem(keys.delayed(prefix, queue), member):
        return None
    return _message(member)


def run_delayed_now(client: Redis, prefix: str, queue: str, job_id: str) -> bool:
    """Put the delayed job at the head of its queue; False if it is not (any more) delayed."""
    member = _find(client, prefix, queue, job_id)
    if member is None:
        return False
    step, _, raw = member.partition(b"|")
    message = payload.parse(raw)
    (message.get("headers") or {})["eta"] = None
    names = [
        keys.delayed(prefix, queue),
        keys.ready(prefix, queue, step.decode()),
        keys.bell(prefix, queue),
    ]
    return bool(scripts.RUN_NOW.run(client, names, [member, dumps(message)]))


def _find(client: Redis, prefix: str, queue: str, job_id: str) -> bytes | None:
    cursor = 0
    key = keys.delayed(prefix, queue)
    while True:
        page: Any = client.zrange(key, cursor, cursor + PAGE - 1)
        for member in page:
            message = _message(member)
            if message and _id(message) == job_id:
                return bytes(member)
        if len(page) < PAGE:
            return None
        cursor += PAGE


def _message(member: bytes) -> dict[str, Any] | None:
    try:
        return payload.parse(member.partition(b"|")[2])
    except payload.Undecodable:
        return None


def _id(message: dict[str, Any]) -> str:
    headers = message.get("headers") or {}
    given = headers.get("id") or message["properties"].get("correlation_id")
    return str(given) if given else hashlib.sha256(repr(message).encode()).hexdigest()[:16]
