"""RQ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import redis
from rq import Queue

from .. import jobs
from .base import PROCESSES, SHORT, Peer


@cache
def queue() -> Queue:
    """The queue, with one client."""
    return Queue("bench", connection=redis.Redis.from_url(jobs.broker_url()))


class RqPeer(Peer):
    """``rq worker`` with ``SimpleWorker``."""

    name = "rq"
    distributions = ("rq", "redis")
    measures = SHORT
    parallel = PROCESSES
    bulk = "`queue.enqueue_many([...])`"
    how = (
        f"{PROCESSES} of `rq worker --worker-class rq.SimpleWorker --quiet`: jobs run in the worker's own process, "
        "where the default forks for each; `result_ttl=0`, so that nothing is written for results"
    )

    def commands(self) -> list[list[str]]:
        words = ["--worker-class", "rq.SimpleWorker", "--quiet", "--url", "{broker}", "bench"]
        return [["rq", "worker", *words] for _ in range(PROCESSES)]

    def enqueue(self, job: str, argument: int) -> None:
        queue().enqueue(getattr(jobs, job), argument, result_ttl=0)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        function = getattr(jobs, job)
        queue().enqueue_many(
            [Queue.prepare_data(function, (argument,), result_ttl=0) for argument in arguments]
        )


PEERS: list[Peer] = [RqPeer()]
