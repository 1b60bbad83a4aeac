"""Looking at queues from outside, and operating on them; for tools.

Functions of a redis-py client (``decode_responses`` off) that prefixes nothing, and kombu's
``global_keyprefix``. Counts are cheap; listing and finding read in portions and never block the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from ....message.codec import encode
from ... import payload
from ...payload import job_id
from . import keys, scripts

STEPS = (0, 3, 6, 9)
PORTION = 500


def delayed_count(client: Redis, prefix: str, queue: str) -> int:
    """How many messages wait for their time."""
    return int(client.zcard(keys.delayed(prefix, queue)))


def leased_count(client: Redis, prefix: str, queue: str) -> int:
    """How many messages are in workers' hands, running or prefetched."""
    return int(client.hget(keys.leased(prefix), queue) or 0)


def delayed_list(
    client: Redis, prefix: str, queue: str, limit: int = 100
) -> list[tuple[str, float, dict[str, Any]]]:
    """The next delayed messages: job id, due (unix seconds), payload; the next due first."""
    found: Any = client.zrange(keys.delayed(prefix, queue), 0, limit - 1, withscores=True)
    listed = []
    for member, due in found:
        body = _body(_split(member)[1])
        listed.append((job_id(body), float(due), body))
    return listed


def delayed_like(client: Redis, prefix: str, queue: str, part: str, limit: int) -> list[str]:
    """Up to ``limit`` ids of delayed messages that begin or end with ``part``; the whole id goes before all."""
    found: dict[str, None] = {}
    for _, body in _containing(client, keys.delayed(prefix, queue), part):
        id_ = job_id(body)
        if id_ == part:
            return [id_]
        if id_.startswith(part) or id_.endswith(part):
            found[id_] = None
    return list(found)[:limit]


def cancel_delayed(client: Redis, prefix: str, queue: str, id_: str) -> dict[str, Any] | None:
    """Delete the delayed message of job ``id_``; its payload, or None if there is none (any more)."""
    key = keys.delayed(prefix, queue)
    for member, body in _find(client, key, id_):
        if client.zrem(key, member):
            return body
    return None


def run_delayed_now(client: Redis, prefix: str, queue: str, id_: str, sep: str = keys.SEPARATOR) -> bool:
    """Put the delayed message of job ``id_`` at the head of its queue; False if there is none (any more).

    Its header ``eta`` is cleared: a consumer would delay it again.
    """
    key = keys.delayed(prefix, queue)
    for member, body in _find(client, key, id_):
        step, _ = _split(member)
        body["headers"] = {**(body.get("headers") or {}), "eta": None}
        names = [key, keys.ready(prefix, queue, step, sep), keys.bell(prefix, queue)]
        if scripts.RUN_NOW.run(client, names, [member, encode(body)]):
            return True
    return False


def hand_over_delayed(
    client: Redis, prefix: str, queue: str, priority_steps: Sequence[int] = STEPS, sep: str = keys.SEPARATOR
) -> int:
    """Put all delayed messages on the ready lists with their times; how many.

    For workers on kombu's own transport, which wait for the time in their memories. A worker on this transport
    would take them and delay them again.
    """
    names = [keys.delayed(prefix, queue), *(keys.ready(prefix, queue, step, sep) for step in priority_steps)]
    moved = 0
    while found := scripts.HAND_OVER.run(client, names, [PORTION, *priority_steps]):
        moved += int(found)
    return moved


def purge(
    client: Redis,
    prefix: str,
    queue: str,
    priority_steps: Sequence[int] = STEPS,
    sep: str = keys.SEPARATOR,
    *,
    delayed: bool = True,
) -> int:
    """Delete the ready messages, and the ``delayed`` ones; how many they were."""
    lists = [keys.ready(prefix, queue, step, sep) for step in priority_steps]
    with client.pipeline(transaction=True) as pipe:
        for name in lists:
            pipe.llen(name)
        pipe.delete(*lists)
        if delayed:
            pipe.zcard(keys.delayed(prefix, queue))
            pipe.delete(keys.delayed(prefix, queue), keys.bell(prefix, queue))
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
