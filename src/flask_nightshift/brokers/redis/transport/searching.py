"""Finds the delayed messages of some jobs: around the times when they are due, else in one walk over all messages.

The server looks at the messages, a portion at a time, and sends only those that it has found. ``following`` lists them
by time and id.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis import Redis

from ... import payload
from ...payload import job_id
from ...values import Dues
from . import scripts

PORTION = 500
"""Messages at which the server looks in one step."""
ROUNDED = 2e-6
"""Seconds by which the score of a message may differ from its time as a ``datetime``."""
NEAR = 1.0
"""Seconds around the time when a job is due, as the caller knows it, within which its message is due."""
_END = -1


class Found(NamedTuple):
    """A delayed message: ``member`` of the delayed set, which has the priority ``step``, and its ``payload``."""

    job_id: str
    member: bytes
    step: str
    payload: dict[str, Any]


def find(client: Redis, key: str, wanted: Dues) -> list[Found]:
    """The delayed messages in ``key`` of the jobs ``wanted``, each with the time when it is due.

    A job is looked for around that time only. Those without one (None) are looked for together, among all messages.
    """
    found: dict[bytes, Found] = {}
    ranges = _ranges(due.timestamp() for due in wanted.values() if due is not None)
    for ids, places in (
        ({each for each, due in wanted.items() if due is not None}, ranges),
        ({each for each, due in wanted.items() if due is None}, []),
    ):
        for each in _search(client, key, ids, places) if ids else ():
            found[each.member] = each
    return list(found.values())


def following(
    client: Redis, key: str, limit: int, after: tuple[datetime, str] | None
) -> list[tuple[datetime, Found]]:
    """Up to ``limit`` messages with the times when they are due, by time and id, those that follow ``after``.

    The server sorts messages of one moment by their bytes, so all of them are read.
    """
    kept: list[tuple[datetime, Found]] = []
    least = after[0].timestamp() - ROUNDED if after is not None else -math.inf
    for members in _portions(client, key, least):
        for member, score in members:
            due, found = datetime.fromtimestamp(score, UTC), read(member)
            if after is None or (due, found.job_id) > after:
                kept.append((due, found))
        kept = sorted(kept, key=_place)[:limit]
        if len(kept) == limit and due > kept[-1][0]:
            break
    return kept


def _portions(client: Redis, key: str, least: float) -> Iterator[list[tuple[bytes, float]]]:
    """The members of ``key`` with their scores from ``least`` on, in their order."""
    skipped = 0
    while True:
        found: Any = client.zrangebyscore(key, least, math.inf, skipped, PORTION, withscores=True)
        if found:
            yield found
        if len(found) < PORTION:
            return
        last = float(found[-1][1])
        same = sum(1 for _, score in found if score == last)
        skipped = same + (skipped if last == least else 0)
        least = last


def _place(each: tuple[datetime, Found]) -> tuple[datetime, str]:
    return each[0], each[1].job_id


def _search(client: Redis, key: str, ids: set[str], ranges: list[tuple[float, float]]) -> Iterator[Found]:
    at, skipped = 0, 0
    bounds = [repr(bound) for each in ranges for bound in each]
    texts = sorted({text for each in ids for text in _in_json(each)})
    while at != _END:
        args = [PORTION, len(ranges), at, skipped, *bounds, *texts]
        place, offset, members = scripts.FIND_DELAYED.run(client, [key], args)
        at, skipped = int(place), int(offset)
        for member in members:
            found = read(member)
            if found.job_id in ids:
                yield found


def read(member: bytes) -> Found:
    """The message in ``member`` of a delayed set; without a job's id if it is no message."""
    step, _, raw = member.partition(b"|")
    try:
        body = payload.parse(raw)
    except payload.Undecodable:
        body = {}
    payload.take_count(body)
    return Found(job_id(body), member, step.decode(), body)


def _in_json(text: str) -> set[str]:
    """``text`` as it stands within JSON: kombu escapes what is not ASCII, msgspec does not."""
    return {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}


def _ranges(dues: Iterator[float]) -> list[tuple[float, float]]:
    """The times around ``dues``, as few ranges as possible."""
    found: list[tuple[float, float]] = []
    for due in sorted(dues):
        first, last = due - NEAR, due + NEAR
        if found and first <= found[-1][1]:
            first = found.pop()[0]
        found.append((first, last))
    return found


__all__ = ["PORTION", "Found", "find", "following", "read"]
