"""The ticks of schedule entries: a key for each entry, which the script that publishes the job compares and sets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ...domain.tick import Claim, Tick
from ...message.envelope import Envelope
from ...message.unique import Holders
from ..connections import ConnectionPool
from .queues import Queues

_NUMBERS = itertools.count(1)


class RedisTicks:
    """Publishes over connections of ``pool``, which have our channels; ``ask(question)`` calls ``question(queues)``."""

    def __init__(self, pool: ConnectionPool, ask: Callable[[Callable[[Queues], Any]], Any]) -> None:
        self._pool = pool
        self._ask = ask

    def publish(
        self, envelope: Envelope, queue: str, tick: Tick, *, due: datetime | None, held: Holders
    ) -> Claim:
        """Publish in one script; an answer that is lost is found again, by the number of the publish or by the tick."""
        message, number = envelope.due_at(due), next(_NUMBERS)

        def work(connection: Any) -> Claim:
            once = f"{connection.name}:tick", number
            claim: Claim = connection.default_channel.publish_tick(message, queue, once, tick, held)
            return claim

        return self._pool.call(work)

    def last(self, queue: str, entry: str) -> datetime | None:
        """The value of the entry's key."""
        found = self._ask(lambda queues: queues.client.get(queues.keys.tick(queue, entry)))
        return datetime.fromtimestamp(float(found), UTC) if found else None


__all__ = ["RedisTicks"]
