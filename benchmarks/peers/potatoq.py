"""Potatoq: Celery's programming interface with leases on Redis, and quorum queues and confirms on RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence

from potatoq import Potatoq, group

from .. import jobs
from .base import PROCESSES, RABBITMQ, REDIS, Peer

app = Potatoq("bench", broker=jobs.broker_url())
tasks = {name: app.task(name=f"bench.{name}")(getattr(jobs, name)) for name in jobs.NAMES}


class PotatoqPeer(Peer):
    """``potatoq worker`` with its defaults."""

    name = "potatoq"
    distributions = ("potatoq", "redis", "pika")
    servers = REDIS + RABBITMQ
    parallel = PROCESSES
    bulk = "`group([...]).apply_async()`"
    how = (
        f"`potatoq worker -c {PROCESSES} -l WARNING`, everything else by default: acknowledged late, leases "
        "renewed, failures kept as dead letters; no results"
    )

    def commands(self) -> list[list[str]]:
        return [["potatoq", "-A", f"{__name__}:app", "worker", "-c", str(PROCESSES), "-l", "WARNING"]]

    def enqueue(self, job: str, argument: int) -> None:
        tasks[job].delay(argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        signature = tasks[job].s
        group([signature(argument) for argument in arguments]).apply_async()


PEERS: list[Peer] = [PotatoqPeer()]
