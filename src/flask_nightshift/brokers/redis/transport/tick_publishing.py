"""Publishing the job of a tick: the script enqueues the job and claims the tick, or neither."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ....domain.tick import EARLY, FAR, Claim, Tick, Verdict
from ....message.unique import Holders, Lock
from . import scripts
from .publishing import Once, Publisher
from .unique_publishing import Job, arguments

KEPT = 30 * 86_400
"""Seconds for which an entry's last tick is kept: a Beat that was frozen for longer may claim one a second time."""


def publish_tick(
    publisher: Publisher, queue: str, step: int, due: float, message: bytes, once: Once, tick: Tick
) -> Claim:
    """Publish the job of ``tick`` to one priority step of ``queue``, if the tick is free.

    ``due`` is the job's, in unix seconds, 0 for at once. Raises what redis-py does.
    """
    name, number = once
    key = publisher.keys.tick(queue, tick.entry)
    args = [_seconds_or_0(due), step, number, 0, *_claim(tick), message]
    reply = publisher.run(scripts.PUBLISH, queue, step, name, [key], args)
    return _answer(reply)


def publish_unique_tick(
    publisher: Publisher,
    queue: str,
    step: int,
    due: float,
    message: bytes,
    lock: Lock,
    once: Once,
    tick: Tick,
) -> tuple[Claim, Holders]:
    """The same for a unique job; the second value has the holder of its lock, if that was taken."""
    name, number = f"{once[0]}:unique:0", once[1]
    keys, args = arguments(publisher.keys, step, due, [Job(message, lock)], number)
    keys, args = [*keys, publisher.keys.tick(queue, tick.entry)], [*args, *_claim(tick)]
    reply = publisher.run(scripts.PUBLISH_UNIQUE, queue, step, name, keys, args)
    if reply[0].startswith(b"h"):
        return Claim(Verdict.CLAIMED), {lock.job_id: reply[0][1:].decode()}
    return _answer(reply), {}


def _claim(tick: Tick) -> list[Any]:
    """The values that ``refuse_tick`` takes."""
    after = _text(tick.after) if tick.after is not None else ""
    return [_text(tick.due), after, EARLY.total_seconds(), FAR.total_seconds(), KEPT]


def _answer(reply: Any) -> Claim:
    if not reply or not reply[0]:
        return Claim(Verdict.CLAIMED)
    kind, last = reply[0][:1], datetime.fromtimestamp(float(reply[0][1:]), UTC)
    return Claim(Verdict.EARLY if kind == b"e" else Verdict.TAKEN, last)


def _text(moment: datetime) -> str:
    return f"{moment.timestamp():.6f}"


def _seconds_or_0(due: float) -> str | int:
    return f"{due:.6f}" if due else 0


__all__ = ["KEPT", "publish_tick", "publish_unique_tick"]
