"""Takes jobs that wait out of their queues, where that is cheap."""

from __future__ import annotations

from collections.abc import Iterator

from ..payload import job_id
from ..reading import delayed_job
from ..values import DelayedJob, Dues
from .queues import Queues
from .taking import Ask, take_each
from .transport import queues


class RedisWaiting:
    """``ask(question)`` calls ``question(queues)`` and turns the client's errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Ready jobs if their list has at most ``queues.MOST_SEARCHED`` messages, and delayed ones of a known time."""
        delayed = {job_id: due for job_id, due in wanted.items() if due is not None}

        def question(q: Queues) -> Iterator[DelayedJob]:
            for body in queues.take_ready(q.client, q.keys, queue, wanted.keys()):
                yield delayed_job(job_id(body), queue, None, body)
            if q.sees_delayed and delayed:
                for each in queues.take_delayed(q.client, q.keys, queue, delayed):
                    yield delayed_job(each.job_id, queue, None, each.payload)

        return take_each(self._ask, question)


__all__ = ["RedisWaiting"]
