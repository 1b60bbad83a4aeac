"""What operators do with the delayed and leased messages of a queue.

Functions of a redis-py client (``decode_responses`` off) that prefixes no keys, and of a ``KeySpace``. Counting is
cheap; listing and finding (``searching.py``) read in portions and never block the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

from redis import Redis

from ....message.codec import encode
from ....message.unique import lock_of
from ... import payload
from ...payload import job_id
from ...values import Dues
from . import scripts
from .acks import lock_args, lock_keys
from .keys import KeySpace
from .searching import PORTION, Found, find, read

MOST_MOVED, MOST_MOVED_BYTES = 100, 1_000_000
"""Messages, and bytes of them, that one step moves to the ready lists."""
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
    members: Any = client.zrange(keys.delayed(queue), 0, limit - 1, withscores=True)
    return [
        (found.job_id, float(due), found.payload) for found, due in ((read(m), due) for m, due in members)
    ]


def delayed_like(client: Redis, keys: KeySpace, queue: str, part: str, limit: int) -> list[str]:
    """Up to ``limit`` ids of delayed messages that begin or end with ``part``;

    only that id if ``part`` is a whole one.
    """
    found: dict[str, None] = {}
    pattern = "*" + re.sub(r"([*?\[\]^\\-])", r"\\\1", part) + "*"
    for member, _ in client.zscan_iter(keys.delayed(queue), match=pattern, count=PORTION):
        id_ = read(member).job_id
        if id_ == part:
            return [id_]
        if id_.startswith(part) or id_.endswith(part):
            found[id_] = None
    return list(found)[:limit]


def find_delayed(client: Redis, keys: KeySpace, queue: str, wanted: Dues) -> list[Found]:
    """The delayed messages of the jobs ``wanted``: around the time when each is due, or anywhere (None)."""
    return find(client, keys.delayed(queue), wanted)


def take_delayed(client: Redis, keys: KeySpace, queue: str, wanted: Dues) -> Iterator[Found]:
    """Delete the delayed messages of the jobs ``wanted``, found as by ``find_delayed``; yields them."""
    key = keys.delayed(queue)
    for found in find(client, key, wanted):
        if _take(client, keys, scripts.TAKE_DELAYED, key, found.member, found.payload):
            yield found


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


def run_delayed_now(client: Redis, keys: KeySpace, queue: str, wanted: Dues) -> list[str]:
    """Put the delayed messages of the jobs ``wanted``, found as by ``find_delayed``, at the head of their queue.

    They keep their order. Returns the ids of those that were moved. This clears their header ``eta``, because a
    consumer would delay them again.
    """
    steps = {str(step): number for number, step in enumerate(keys.steps, 3)}
    names = [keys.delayed(queue), keys.bell(queue), *keys.ready_lists(queue)]
    found = sorted(find(client, names[0], wanted), key=_due, reverse=True)
    moved: dict[str, None] = {}
    for some in _by_size(found):
        args: list[Any] = []
        for each in some:
            headers = {**(each.payload.get("headers") or {}), "eta": None}
            args += [steps.get(each.step, 3), each.member, encode({**each.payload, "headers": headers})]
        replies = scripts.RUN_NOW.run(client, names, args)
        moved |= {each.job_id: None for each, reply in zip(some, replies, strict=True) if reply}
    return list(moved)


def _due(found: Found) -> float:
    return payload.due(found.payload) or 0.0


def _by_size(found: Sequence[Found]) -> Iterator[Sequence[Found]]:
    """``found`` in portions whose messages may be moved in one step."""
    first, size = 0, 0
    for at, each in enumerate(found):
        if at > first and (at - first >= MOST_MOVED or size + len(each.member) > MOST_MOVED_BYTES):
            yield found[first:at]
            first, size = at, 0
        size += len(each.member)
    if first < len(found):
        yield found[first:]


def hand_over_delayed(client: Redis, keys: KeySpace, queue: str) -> int:
    """Put all delayed messages that are there now on the ready lists with their times; how many.

    For workers on kombu's own transport, which wait for the time in their memories. A worker on the lease transport
    would take them and delay them again.
    """
    names = [keys.delayed(queue), *keys.ready_lists(queue)]
    moved, most = 0, delayed_count(client, keys, queue)
    while moved < most and (found := scripts.HAND_OVER.run(client, names, [PORTION, *keys.steps])):
        moved += int(found)
    return moved


def purge(
    client: Redis,
    keys: KeySpace,
    queue: str,
    deleted: Callable[[int], object] = lambda count: None,  # noqa: ARG005
    *,
    delayed: bool = True,
) -> int:
    """Delete the ready messages, and the ``delayed`` ones, with the locks of their unique jobs; how many they were.

    It deletes as many as there are now, in portions, and tells ``deleted`` of each; what is enqueued meanwhile may be
    among them.
    """
    places = [(name, "list", int(client.llen(name))) for name in keys.ready_lists(queue)]
    if delayed:
        places.append((keys.delayed(queue), "set", delayed_count(client, keys, queue)))
    done = 0
    for name, kind, count in places:
        for some in _purge(client, keys, name, kind, count):
            deleted(some)
            done += some
    return done


def _purge(client: Redis, keys: KeySpace, key: str, kind: str, count: int) -> Iterator[int]:
    done, locks = 0, list[bytes]()
    while done < count:
        where: list[Any] = [key, keys.replaced, *(keys.lock("").encode() + name for name in locks)]
        deleted, locks = scripts.PURGE.run(client, where, [min(PORTION, count - done), kind, *locks])
        done += int(deleted)
        yield int(deleted)
        if not (deleted or locks):
            break


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = payload.parse(raw)
    except payload.Undecodable:
        return {}
    payload.take_count(body)
    return body
