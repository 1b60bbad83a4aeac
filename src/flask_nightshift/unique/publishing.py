"""Publishes jobs of which some are unique: each of those claims its lock first, or in the same step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from ..brokers.base import Publisher
from ..brokers.locks import Locks
from ..message.envelope import Envelope
from ..message.unique import Holders, to_claim

DUPLICATE = "duplicate of"
"""Why a job is skipped, as ``JobSkipped`` says it before the id of the job that holds the lock."""


def publish(
    broker: Publisher,
    locks: Locks,
    envelopes: Sequence[Envelope],
    queue: str,
    due: datetime | None,
    held: Holders,
    *,
    from_outbox: bool = False,
) -> Iterator[int]:
    """Publish ``envelopes``, which have the same priority, to ``queue``, at once or delayed until ``due``.

    After each step it yields how many are confirmed in that step, in their order; those in ``held``, which it fills,
    are not enqueued. Raises ``BrokerUnavailable``, and ``DatabaseUnavailable`` where the database holds the locks.
    """
    if not any(to_claim(envelope.headers) for envelope in envelopes):
        yield from _publish(broker, envelopes, queue, due, None, from_outbox)
        return
    free = locks.claim(envelopes, queue, due, held, from_outbox=from_outbox)
    places = [at for at, envelope in enumerate(envelopes) if envelope.headers["id"] not in held]
    done = reached = 0
    try:
        for count in _publish(broker, free, queue, due, held, from_outbox):
            locks.published(free[done : done + count])
            done += count
            before, reached = reached, places[done - 1] + 1
            yield reached - before
    except Exception as exc:
        later = locks.postponed(free[done:], exc)
        if from_outbox or not later:
            raise
    yield len(envelopes) - reached


def _publish(
    broker: Publisher,
    envelopes: Sequence[Envelope],
    queue: str,
    due: datetime | None,
    held: Holders | None,
    from_outbox: bool,
) -> Iterator[int]:
    if len(envelopes) == 1 and not from_outbox:
        broker.publish(envelopes[0], queue, due=due, held=held)
        yield 1
    elif envelopes:
        yield from broker.publish_many(envelopes, queue, due=due, from_outbox=from_outbox, held=held)


__all__ = ["DUPLICATE", "publish"]
