"""The delayed jobs of the lease transport, one by one: see what comes, start it now, take it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar

from ...errors import BrokerUnavailable
from ..reading import delayed_job
from ..values import DelayedJob, Dues, TakenInPart
from .queues import Queues
from .transport import queues, searching
from .transport.searching import Found

T = TypeVar("T")


class RedisDelayed:
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[Queues], Any]], Any]) -> None:
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
        return _jobs(queue, self._ask(lambda q: queues.find_delayed(q.client, q.keys, queue, wanted)))

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Take the jobs out of ``queue``: they will not run. Returns those that were delayed there."""
        taken: list[DelayedJob] = []

        def question(q: Queues) -> None:
            for found in queues.take_delayed(q.client, q.keys, queue, wanted):
                taken.extend(_jobs(queue, [found]))

        try:
            self._ask(question)
        except BrokerUnavailable as exc:
            if taken:
                raise TakenInPart(exc, taken) from exc
            raise
        return taken

    def run_now(self, queue: str, wanted: Dues) -> list[str]:
        """Have the jobs run next; the ids of those that were delayed in ``queue``."""
        return list(self._ask(lambda q: queues.run_delayed_now(q.client, q.keys, queue, wanted)))

    def hand_over(self, queue: str) -> int:
        """Put all on the ready lists with their times, for workers on kombu's own transport; how many."""
        return int(self._ask(lambda q: queues.hand_over_delayed(q.client, q.keys, queue)))


def _jobs(queue: str, found: Iterable[Found]) -> list[DelayedJob]:
    return [delayed_job(each.job_id, queue, None, each.payload) for each in found]
