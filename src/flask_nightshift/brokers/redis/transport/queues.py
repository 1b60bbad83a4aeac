"""What operators do with the delayed and leased messages of a queue.

Functions of a redis-py client (``decode_responses`` off) that prefixes no keys, and of a ``KeySpace``. Counting is
cheap; listing and finding read in portions and never block the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from redis import Redis

from ....message.codec import encode
from ... import payload
from ...payload import job_id
from . import scripts
from .keys import KeySpace

PORTION = 500


def delayed_count(client: Redis, keys: KeySpace, queue: str) -> int:
    """How many messages wait for their time."""
    return int(client.zcard(keys.delayed(queue)))


def leased_count(client: Redis, keys: KeySpace, queue: str) -> int:
    """How many messages workers hold, running or prefetched."""
    return int(client.hget(keys.leased, queue) or 0)


def delayed_list(
    client: Redis, keys: KeySpace, queue: str, limit: int = 100
) -> list[tuple[str, float, dict[str, Any]]]:
    """The next delayed messages: job id, due (unix seconds), payload; the next due first."""
    found: Any = client.zrange(keys.delayed(queue), 0, limit - 1, withscores=True)
    listed = []
    for member, due in found:
        body = _body(_split(member)[1])
        listed.append((job_id(body), float(due), body))
    return listed


def delayed_like(client: Redis, keys: KeySpace, queue: str, part: str, limit: int) -> list[str]:
    """Up to ``limit`` ids of delayed messages that begin or end with ``part``;

    only that id if ``part`` is a whole one.
    """
    found: dict[str, None] = {}
    for _, body in _containing(client, keys.delayed(queue), part):
        id_ = job_id(body)
        if id_ == part:
            return [id_]
        if id_.startswith(part) or id_.endswith(part):
            found[id_] = None
    return list(found)[:limit]


def cancel_delayed(client: Redis, keys: KeySpace, queue: str, id_: str) -> dict[str, Any] | None:
    """Delete the delayed message of job ``id_``; its payload, or None if there is none (any more)."""
    key = keys.delayed(queue)
    for member, body in _find(client, key, id_):
        if client.zrem(key, member):
            return body
    return None


def run_delayed_now(client: Redis, keys: KeySpace, queue: str, id_: str) -> bool:
    """Put the delayed message of job ``id_`` at the head of its queue; False if there is none (any more).

    This clears its header ``eta``, because a consumer would delay it again.
    """
    key = keys.delayed(queue)
    for member, body in _find(client, key, id_):
        step, _ = _split(member)
        body["headers"] = {**(body.get("headers") or {}), "eta": None}
        names = [key, keys.ready(queue, step), keys.bell(queue)]
        if scripts.RUN_NOW.run(client, names, [member, encode(body)]):
            return True
    return False


def hand_over_delayed(client: Redis, keys: KeySpace, queue: str) -> int:
    """Put all delayed messages on the ready lists with their times; how many.

    For workers on kombu's own transport, which wait for the time in their memories. A worker on the lease transport
    would take them and delay them again.
    """
    names = [keys.delayed(queue), *keys.ready_lists(queue)]
    moved = 0
    while found := scripts.HAND_OVER.run(client, names, [PORTION, *keys.steps]):
        moved += int(found)
    return moved


def purge(client: Redis, keys: KeySpace, queue: str, *, delayed: bool = True) -> int:
    """Delete the ready messages, and the ``delayed`` ones; how many they were."""
    lists = keys.ready_lists(queue)
    with client.pipeline(transaction=True) as pipe:
        for name in lists:
            pipe.llen(name)
        pipe.delete(*lists)
        if delayed:
            pipe.zcard(keys.delayed(queue))
            pipe.delete(keys.delayed(queue), keys.bell(queue))
        answers = pipe.execute()
    ready, rest = answers[: len(lists)], answers[len(lists) + 1 :]
    return int(sum(ready)) + int(rest[0] if delayed else 0)


def _find(client: Redis, key: str, id_: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    return ((member, body) for member, body in _containing(client, key, id_) if job_id(body) == id_)


def _containing(client: Redis, key: str, id_: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The messages in whose bytes the text ``id_`` is."""
    pattern = "*" + re.sub(r"([*?\[\]^\\-])", r"\\\1", id_) + "*"
    for member, _ in client.zscan_iter(key, match=pattern, count=PORTION):
        yield member, _body(_split(member)[1])


def _split(member: bytes) -> tuple[str, bytes]:
    step, _, raw = member.partition(b"|")
    return step.decode(), raw


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = payload.parse(raw)
    except payload.Undecodable:
        return {}
    payload.take_count(body)
    return body
