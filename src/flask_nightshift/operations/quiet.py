"""Wait until no worker holds a job of paused queues any more, for example before a deploy."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..brokers.orders import UNKNOWN
from ..domain.job import utcnow
from ..services import Services
from ..store import heartbeats
from ..store.heartbeats import WorkerRow
from ..text.counts import plural

LOOK_AGAIN = 0.5
"""Seconds between two looks."""
ARRIVES = 1.0
"""Seconds after an order for which a message may still be on its way to a worker that has heard of it."""


class Holds(NamedTuple):
    """Why it is not quiet yet: ``worker`` holds jobs, or has not told yet that it holds none."""

    worker: str
    why: str


def wait(
    services: Services,
    queues: Sequence[str],
    seconds: float,
    *,
    sleep: Callable[[float], object] = time.sleep,
    told: Callable[[Sequence[Holds]], object] = lambda _: None,
) -> list[Holds]:
    """Wait up to ``seconds`` until no worker holds a job of ``queues``, which are paused; returns who holds some then.

    ``told`` is called after each look. Workers tell what they hold every three seconds. One that is silent for 15 s
    counts as dead, unless the broker says that somebody holds jobs. Raises ``DatabaseUnavailable``.
    """
    ordered = services.orders.read(UNKNOWN)
    number = 0 if ordered is None else ordered.number
    watch = _Watch(services, queues, number)
    until = time.monotonic() + seconds
    while (found := watch.look()) and time.monotonic() < until:
        told(found)
        sleep(LOOK_AGAIN)
    return found


class _Watch:
    def __init__(self, services: Services, queues: Sequence[str], number: int) -> None:
        self._services, self._queues, self._number = services, queues, number
        self._heard_at: dict[str, float] = {}
        """The time in the report in which a worker first said that it knows of the pause."""

    def look(self) -> list[Holds]:
        """Who holds jobs, or may do so."""
        rows = [row for row in heartbeats.workers(self._services.store, utcnow()) if row.alive]
        found = [Holds(row.name, why) for row in rows if (why := self._why(row))]
        return found or self._by_broker()

    def _why(self, row: WorkerRow) -> str:
        if row.heard is None or row.in_hand is None:
            concerned = row.busy and set(self._queues) & {*row.queues}
            text = f"runs {plural(len(row.busy), 'job')}, and its version does not tell of which queues"
            return text if concerned else ""
        if row.heard < self._number:
            return "has not heard of the pause yet"
        count = sum(row.in_hand.get(queue, 0) for queue in self._queues)
        if count:
            return f"holds {plural(count, 'job')}"
        heard = self._heard_at.setdefault(row.name, row.seen_at.timestamp())
        return "" if row.seen_at.timestamp() - heard >= ARRIVES else "has yet to confirm that it holds no job"

    def _by_broker(self) -> list[Holds]:
        """What the broker knows to be held: also by workers that cannot reach the database."""
        depths = self._services.broker.depths(self._queues)
        return [
            Holds("a worker", f"holds {plural(depth.leased, 'job')} of {depth.queue}")
            for depth in depths
            if depth.leased
        ]


__all__ = ["Holds", "wait"]
