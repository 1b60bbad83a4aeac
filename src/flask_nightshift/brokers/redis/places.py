"""Where one job waits: a bounded search of its queue's ready lists, of what is delayed, and of what workers hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from redis import Redis

from .. import payload
from ..values import Place, Where
from .transport.keys import KeySpace

PORTION = 250
MOST = 1_000
"""Messages to look at from each end of a ready list, and among those that are due at the same time."""
MOST_CONSUMERS = 200
LONGEST_POSTPONEMENT = 120.0
"""Seconds from now within which a job that a worker postponed is due: one minute, and clocks may differ."""
_STARTED_TOLD = b"0"


def find(client: Redis, keys: KeySpace, queue: str, job_id: str, due: datetime | None) -> Place:
    """The place of the job; where the search ends before the lists do, a job not found is at an unknown place."""
    for _ in range(2):  # it may move from one place to the next meanwhile
        found, whole = _ready(client, keys, queue, job_id)
        if found is None:
            found, all_delayed = _delayed(client, keys, queue, job_id, due)
            whole = whole and all_delayed
        found = found or _held(client, keys, job_id)
        if found is not None:
            return found
    return Place(Where.NOWHERE) if whole else Place(Where.UNKNOWN)


def _ready(client: Redis, keys: KeySpace, queue: str, job_id: str) -> tuple[Place | None, bool]:
    """Its place among the ready jobs, and whether all of them were looked at."""
    before, whole = 0, True
    for name in keys.ready_lists(queue):
        length = int(client.llen(name))
        for at, raw in _from_both_ends(client, name, length):
            if _is(raw, job_id):
                return Place(Where.READY, before + at, unproven=_unproven(raw)), True
        before, whole = before + length, whole and length <= 2 * MOST
    return None, whole


def _from_both_ends(client: Redis, name: str, length: int) -> Iterator[tuple[int, bytes]]:
    """The messages of a list of that ``length``, each with how many are taken before it: the right end comes first."""
    for at in range(0, min(length, MOST), PORTION):
        some: Any = client.lrange(name, -at - PORTION, -at - 1)
        yield from zip(range(at, at + len(some)), reversed(some), strict=True)
    for at in range(0, min(length - MOST, MOST), PORTION):
        some = client.lrange(name, at, at + PORTION - 1)
        yield from ((length - 1 - at - index, raw) for index, raw in enumerate(some))


def _delayed(
    client: Redis, keys: KeySpace, queue: str, job_id: str, due: datetime | None
) -> tuple[Place | None, bool]:
    """Its place among the delayed jobs, and whether all that may be it were looked at.

    It is delayed until ``due``; or for at most a minute from now, because a worker could not run it.
    """
    name, ranges = keys.delayed(queue), []
    if due is not None:
        ranges.append((due.timestamp() - 1, due.timestamp() + 1))
    ranges.append((float("-inf"), time.time() + LONGEST_POSTPONEMENT))
    whole = True
    for first, last in ranges:
        members: Any = client.zrangebyscore(name, first, last, 0, MOST, withscores=True)
        for member, score in members:
            if _is(member.partition(b"|")[2], job_id):
                return Place(Where.DELAYED, due=datetime.fromtimestamp(score, UTC)), True
        whole = whole and len(members) < MOST
    return None, whole


def _held(client: Redis, keys: KeySpace, job_id: str) -> Place | None:
    consumers: Any = client.zrange(keys.consumers, 0, MOST_CONSUMERS - 1)
    for consumer in (name.decode() for name in consumers):
        for number, packed in client.hscan_iter(keys.lease(consumer), count=PORTION):
            raw = packed.split(b"\0", 2)[-1]
            if _is(raw, job_id):
                started: Any = client.smembers(keys.started(consumer))
                tells, begun = _STARTED_TOLD in started, number in started
                where = Where.BEGUN if begun or not tells else Where.TAKEN
                return Place(where, unproven=_unproven(raw))
    return None


def _is(raw: bytes, job_id: str) -> bool:
    """Whether ``raw`` is the message of the job; its id may also be in the message of another one."""
    if job_id.encode() not in raw:
        return False
    try:
        return payload.job_id(payload.parse(raw)) == job_id
    except payload.Undecodable:
        return False


def _unproven(raw: bytes) -> bool:
    try:
        return payload.take_count(payload.parse(raw)) > 0
    except payload.Undecodable:
        return False


__all__ = ["find"]
