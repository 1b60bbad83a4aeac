"""Takes jobs that wait out of their queues, where that is cheap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..payload import job_id
from ..reading import delayed_job
from ..values import DelayedJob, Dues
from .queues import Queues
from .transport import queues

T = TypeVar("T")


class RedisWaiting:
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[Queues], Any]], Any]) -> None:
        self._ask = ask

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Ready jobs if their list has at most ``queues.MOST_SEARCHED`` messages, and delayed ones of a known time."""
        delayed = {job_id: due for job_id, due in wanted.items() if due is not None}

        def question(q: Queues) -> list[DelayedJob]:
            found = [
                (job_id(body), body) for body in queues.take_ready(q.client, q.keys, queue, wanted.keys())
            ]
            if q.sees_delayed and delayed:
                taken = queues.take_delayed(q.client, q.keys, queue, delayed)
                found += [(each.job_id, each.payload) for each in taken]
            return [delayed_job(each, queue, None, body) for each, body in found]

        taken: list[DelayedJob] = self._ask(question)
        return taken


__all__ = ["RedisWaiting"]
