"""Dramatiq."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from .. import jobs
from .base import PROCESSES, RABBITMQ, REDIS, THREADS, Peer


def make_broker(url: str) -> Any:
    """The broker for the scheme of ``url``."""
    if url.startswith("redis"):
        return RedisBroker(url=url)
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    return RabbitmqBroker(url=url, confirm_delivery=True)


broker = make_broker(jobs.broker_url())
dramatiq.set_broker(broker)
actors = {name: dramatiq.actor(getattr(jobs, name)) for name in jobs.NAMES}


class DramatiqPeer(Peer):
    """``dramatiq`` with its default number of threads."""

    name = "dramatiq"
    distributions = ("dramatiq", "redis", "pika")
    servers = REDIS + RABBITMQ
    parallel = PROCESSES * THREADS
    bulk = "`group([...]).run()`"
    how = (
        f"`dramatiq -p {PROCESSES} -t {THREADS}` (its default number of threads); on RabbitMQ "
        "`confirm_delivery=True` and its classic queues (it has no others)"
    )

    def commands(self) -> list[list[str]]:
        return [["dramatiq", __name__, "-p", str(PROCESSES), "-t", str(THREADS)]]

    def enqueue(self, job: str, argument: int) -> None:
        actors[job].send(argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        dramatiq.group(actors[job].message(argument) for argument in arguments).run()


PEERS: list[Peer] = [DramatiqPeer()]
