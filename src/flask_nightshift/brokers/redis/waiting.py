"""Takes jobs that wait out of their queues, where that is cheap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import BrokerUnavailable
from ..payload import job_id
from ..reading import delayed_job
from ..values import DelayedJob, Dues, TakenInPart
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

        taken: list[DelayedJob] = []

        def question(q: Queues) -> None:
            for body in queues.take_ready(q.client, q.keys, queue, wanted.keys()):
                taken.append(delayed_job(job_id(body), queue, None, body))
            if q.sees_delayed and delayed:
                for each in queues.take_delayed(q.client, q.keys, queue, delayed):
                    taken.append(delayed_job(each.job_id, queue, None, each.payload))

        try:
            self._ask(question)
        except BrokerUnavailable as exc:
            if taken:
                raise TakenInPart(exc, taken) from exc
            raise
        return taken


__all__ = ["RedisWaiting"]
