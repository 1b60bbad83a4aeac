"""The delayed jobs of the lease transport, one by one: see what comes, start it now, take it out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..reading import delayed_job
from ..values import DelayedJob
from .queues import Queues
from .transport import queues

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

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs of ``queue`` that begin or end with ``part``."""
        return list(self._ask(lambda q: queues.delayed_like(q.client, q.keys, queue, part, limit)))

    def find(self, queue: str, job_id: str) -> DelayedJob | None:
        """The job; None if it is not delayed in ``queue`` (any more)."""
        found = self._ask(lambda q: queues.find_delayed(q.client, q.keys, queue, job_id))
        return delayed_job(job_id, queue, None, found) if found is not None else None

    def take(self, queue: str, job_id: str) -> DelayedJob | None:
        """Take the job out of ``queue``: it will not run. None if it is not delayed there (any more)."""
        payload = self._ask(lambda q: queues.cancel_delayed(q.client, q.keys, queue, job_id))
        return delayed_job(job_id, queue, None, payload) if payload is not None else None

    def run_now(self, queue: str, job_id: str) -> bool:
        """Have the job run next; False if it is not delayed in ``queue`` (any more)."""
        return bool(self._ask(lambda q: queues.run_delayed_now(q.client, q.keys, queue, job_id)))

    def hand_over(self, queue: str) -> int:
        """Put all on the ready lists with their times, for workers on kombu's own transport; how many."""
        return int(self._ask(lambda q: queues.hand_over_delayed(q.client, q.keys, queue)))
