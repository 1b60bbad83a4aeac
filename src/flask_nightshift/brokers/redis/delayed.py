"""The delayed jobs of the lease transport, one by one: see what comes, start it now, take it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from ..reading import delayed_job
from ..values import DelayedJob, Dues
from .taking import Ask, take_each
from .transport import queues, searching
from .transport.searching import Found


class RedisDelayed:
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """The next delayed jobs of ``queue``, the soonest first."""
        found = self._ask(lambda q: queues.delayed_list(q.client, q.keys, queue, limit))
        return [
            delayed_job(job_id, queue, datetime.fromtimestamp(due, UTC), payload)
            for job_id, due, payload in found
        ]

    def following(self, queue: str, limit: int, after: tuple[datetime, str] | None) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs by time and id, those that follow ``after``."""
        found = self._ask(lambda q: searching.following(q.client, q.keys.delayed(queue), limit, after))
        return [delayed_job(each.job_id, queue, due, each.payload) for due, each in found]

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs of ``queue`` that begin or end with ``part``."""
        return list(self._ask(lambda q: queues.delayed_like(q.client, q.keys, queue, part, limit)))

    def find(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Those of the jobs that are delayed in ``queue``."""
        return list(_each(queue, self._ask(lambda q: queues.find_delayed(q.client, q.keys, queue, wanted))))

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Take the jobs out of ``queue``: they will not run. Returns those that were delayed there."""
        return take_each(
            self._ask, lambda q: _each(queue, queues.take_delayed(q.client, q.keys, queue, wanted))
        )

    def run_now(self, queue: str, wanted: Dues) -> list[str]:
        """Have the jobs run next; the ids of those that were delayed in ``queue``."""
        return list(self._ask(lambda q: queues.run_delayed_now(q.client, q.keys, queue, wanted)))

    def hand_over(self, queue: str) -> int:
        """Put all on the ready lists with their times, for workers on kombu's own transport; how many."""
        return int(self._ask(lambda q: queues.hand_over_delayed(q.client, q.keys, queue)))


def _each(queue: str, found: Iterable[Found]) -> Iterator[DelayedJob]:
    return (delayed_job(each.job_id, queue, None, each.payload) for each in found)
