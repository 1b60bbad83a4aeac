"""taskiq."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from taskiq_redis import ListQueueBroker, RedisStreamBroker

from .. import jobs
from .aio import AsyncPeer
from .base import AT_ONCE, PROCESSES, SHORT, Peer

FLAVOUR = "BENCH_TASKIQ"
LIST, STREAM = "list", "stream"

make_broker: Any = ListQueueBroker if os.environ.get(FLAVOUR) == LIST else RedisStreamBroker
broker: Any = make_broker(url=jobs.broker_url())


@broker.task
async def noop(number: int) -> None:
    """As the others' job."""
    jobs.noop(number)


@broker.task
async def pause(number: int) -> None:  # noqa: ARG001 - a job has an argument
    """Wait for 5 ms without blocking other jobs, then count."""
    jobs.pass_gate()
    await asyncio.sleep(jobs.PAUSE_SECONDS)
    jobs.count()


@broker.task
async def stamp(sent_ns: int) -> None:
    """As the others' job."""
    jobs.stamp(sent_ns)


tasks: dict[str, Any] = {"noop": noop, "pause": pause, "stamp": stamp}


class TaskiqPeer(AsyncPeer):
    """``taskiq worker`` with async jobs."""

    distributions = ("taskiq", "taskiq-redis", "redis")
    parallel = PROCESSES * AT_ONCE

    def __init__(self, flavour: str, what: str, measures: frozenset[str]) -> None:
        self.name, self.flavour, self.measures = f"taskiq-{flavour}", flavour, measures
        self.how = (
            f"`taskiq worker --workers {PROCESSES}`; {what}; async jobs, {AT_ONCE} at a time (its default)"
        )

    def environment(self, home: str) -> Mapping[str, str]:  # noqa: ARG002
        return {FLAVOUR: self.flavour}

    def commands(self) -> list[list[str]]:
        return [
            ["taskiq", "worker", "--workers", str(PROCESSES), "--log-level", "WARNING", f"{__name__}:broker"]
        ]

    async def connect(self) -> None:
        await broker.startup()

    async def send(self, job: str, argument: int) -> None:
        await tasks[job].kiq(argument)


PEERS: list[Peer] = [
    TaskiqPeer(LIST, "`ListQueueBroker`, its fastest, without acknowledgements", SHORT),
    TaskiqPeer(
        STREAM,
        "`RedisStreamBroker`, with acknowledgements",
        frozenset({"drain", "io"}),
    ),
]
