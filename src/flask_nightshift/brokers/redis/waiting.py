"""Takes jobs that wait out of their queues, where that is cheap."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from ..payload import job_id
from ..reading import delayed_job
from ..values import DelayedJob
from .queues import Queues
from .transport import queues

T = TypeVar("T")


class RedisWaiting:
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[Queues], Any]], Any]) -> None:
        self._ask = ask

    def take(self, queue: str, job_ids: Collection[str]) -> list[DelayedJob]:
        """Delayed jobs, and ready ones if their list has at most ``queues.MOST_SEARCHED`` messages."""
        wanted = frozenset(job_ids)

        def question(q: Queues) -> list[DelayedJob]:
            found = list(queues.take_ready(q.client, q.keys, queue, wanted))
            if q.sees_delayed:
                found += queues.take_delayed(q.client, q.keys, queue, wanted)
            return [delayed_job(job_id(body), queue, None, body) for body in found]

        taken: list[DelayedJob] = self._ask(question)
        return taken


__all__ = ["RedisWaiting"]
