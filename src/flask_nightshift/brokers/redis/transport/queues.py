"""What operators do with the delayed and leased messages of a queue.

Functions of a redis-py client (``decode_responses`` off) that prefixes no keys, and of a ``KeySpace``. Counting is
cheap; listing and finding read in portions and never block the server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Any

from redis import Redis

from ....message.codec import encode
from ....message.unique import lock_of
from ... import payload
from ...payload import job_id
from . import scripts
from .acks import lock_args, lock_keys
from .keys import KeySpace

PORTION = 500
MOST_SEARCHED = 10_000
"""Messages in a ready list up to which jobs are searched for there: the server compares each of them."""


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


def find_delayed(client: Redis, keys: KeySpace, queue: str, id_: str) -> dict[str, Any] | None:
    """The payload of the delayed message of job ``id_``; None if there is none."""
    return next((body for _, body in _find(client, keys.delayed(queue), id_)), None)


def cancel_delayed(client: Redis, keys: KeySpace, queue: str, id_: str) -> dict[str, Any] | None:
    """Delete the delayed message of job ``id_``; its payload, or None if there is none (any more)."""
    key = keys.delayed(queue)
    for member, body in _find(client, key, id_):
        if _take(client, keys, scripts.TAKE_DELAYED, key, member, body):
            return body
    return None


def take_delayed(client: Redis, keys: KeySpace, queue: str, wanted: Set[str]) -> Iterator[dict[str, Any]]:
    """Delete the delayed messages of the jobs ``wanted``; their payloads."""
    key = keys.delayed(queue)
    only = next(iter(wanted)) if len(wanted) == 1 else ""
    for member, body in _containing(client, key, only):
        if job_id(body) in wanted and _take(client, keys, scripts.TAKE_DELAYED, key, member, body):
            yield body


def take_ready(client: Redis, keys: KeySpace, queue: str, wanted: Set[str]) -> Iterator[dict[str, Any]]:
    """The same for ready messages, in lists that are not too long (``MOST_SEARCHED``)."""
    for key in keys.ready_lists(queue):
        at = 0
        while client.llen(key) <= MOST_SEARCHED:
            found: Any = client.lrange(key, at, at + PORTION - 1)
            at += len(found)
            for raw in found:
                body = _body(raw)
                if job_id(body) in wanted and _take(client, keys, scripts.TAKE_READY, key, raw, body):
                    at -= 1  # what follows has moved up
                    yield body
            if len(found) < PORTION:
                break


def _take(
    client: Redis, keys: KeySpace, script: scripts.Script, key: str, raw: bytes, body: dict[str, Any]
) -> bool:
    lock = lock_of(body.get("headers"))
    locks = [lock] if lock else ()
    return bool(script.run(client, [key, *lock_keys(keys, locks)], [raw, *lock_args(locks)]))


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
    """Delete the ready messages, and the ``delayed`` ones, with the locks of their unique jobs; how many they were.

    It deletes as many as there are now, in portions; what is enqueued meanwhile may be among them.
    """
    places = [(name, "list", int(client.llen(name))) for name in keys.ready_lists(queue)]
    if delayed:
        places.append((keys.delayed(queue), "set", delayed_count(client, keys, queue)))
    return sum(_purge(client, keys, *place) for place in places)


def _purge(client: Redis, keys: KeySpace, key: str, kind: str, count: int) -> int:
    done, locks = 0, list[bytes]()
    while done < count:
        where: list[Any] = [key, keys.replaced, *(keys.lock("").encode() + name for name in locks)]
        deleted, locks = scripts.PURGE.run(client, where, [min(PORTION, count - done), kind, *locks])
        done += int(deleted)
        if not (deleted or locks):
            break
    return done


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
