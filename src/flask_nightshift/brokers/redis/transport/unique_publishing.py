"""Publishing unique jobs: the script enqueues a job and gives it its lock, or neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ....message.copies import REMEMBERED, Copy, copy_of
from ....message.envelope import Envelope
from ....message.headers import DURABLE, HISTORY
from ....message.unique import Holders, Lock, to_claim
from ... import payload
from . import scripts
from .keys import KeySpace
from .publishing import Once, Publisher, next_tag

REPLACED_FOR = 30 * 86_400
"""Seconds, from when a replaced job was due, for which its message is recognised, so that it does not run."""
_MANY = 150
"""Jobs in one call of the script, because Redis limits the values that a script can unpack at once."""


class Job(NamedTuple):
    """A unique job's message, its lock, and which publish of its attempt the message is, if it came from an outbox."""

    message: bytes
    lock: Lock
    copy: Copy | None = None
    durable: bool = False


def jobs_of(envelopes: Sequence[Envelope], queue: str, *, from_outbox: bool) -> Iterator[Job]:
    """The unique jobs among ``envelopes``."""
    for envelope in envelopes:
        headers = envelope.headers
        if (lock := to_claim(headers)) is not None:
            copy = copy_of(headers) if from_outbox else None
            durable = DURABLE in headers[HISTORY]
            yield Job(payload.written(envelope, queue, next_tag()), lock, copy, durable)


def publish_unique(
    publisher: Publisher, queue: str, step: int, due: float, jobs: Sequence[Job], once: Once
) -> tuple[Holders, list[Job]]:
    """Publish unique jobs to one priority step of ``queue``; returns the holders of the locks that were taken,
    and the jobs that are a second publish of their attempt.

    ``due`` is in unix seconds, 0 for at once. Raises what redis-py does.
    """
    held: Holders = {}
    second: list[Job] = []
    for at in range(0, len(jobs), _MANY):
        # a name of its own: a publish that is repeated may also contain jobs that are not unique
        own = f"{once[0]}:unique:{at}", once[1]
        some = jobs[at : at + _MANY]
        for job, verdict in zip(some, _publish(publisher, queue, step, due, some, own), strict=True):
            if verdict.startswith(b"h"):
                held[job.lock.job_id] = verdict[1:].decode()
            elif verdict == b"c":
                second.append(job)
    return held, second


def _publish(
    publisher: Publisher, queue: str, step: int, due: float, jobs: Sequence[Job], once: Once
) -> list[bytes]:
    name, number = once
    where, args = arguments(publisher.keys, step, due, jobs, number)
    verdicts: list[bytes] = publisher.run(scripts.PUBLISH_UNIQUE, queue, step, name, where, args)
    return verdicts


def arguments(
    keys: KeySpace, step: int, due: float, jobs: Sequence[Job], number: int
) -> tuple[list[str], list[str | int | bytes]]:
    """The keys of ``publish_unique.lua`` from the fifth on, and its arguments."""
    where = [keys.replaced, *(keys.lock(job.lock.key) for job in jobs)]
    seconds = 0 if any(job.copy is None for job in jobs) else REMEMBERED
    args: list[str | int | bytes] = [f"{due:.6f}" if due else 0, step, number, len(jobs)]
    args += [seconds, REPLACED_FOR]
    for message, lock, copy, durable in jobs:
        args += [message, lock.job_id, lock.task, lock.until, int(lock.seconds * 1000), lock.on_duplicate]
        args += [copy.number if copy else "", "durable" if durable else ""]
        if copy and seconds:
            where.append(keys.copy(*copy.of))
    return where, args


__all__ = ["Job", "arguments", "jobs_of", "publish_unique"]
