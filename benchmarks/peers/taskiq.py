"""taskiq."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskiq_redis import RedisStreamBroker

from .. import jobs
from .base import PROCESSES, Peer

broker = RedisStreamBroker(url=jobs.broker_url())
loop = asyncio.new_event_loop()


@broker.task
async def noop(number: int) -> None:
    """As the others' job."""
    jobs.noop(number)


@broker.task
async def pause(number: int) -> None:  # noqa: ARG001 - a job has an argument
    """Waits as an async job does: meanwhile others run."""
    jobs.pass_gate()
    await asyncio.sleep(jobs.PAUSE_SECONDS)
    jobs.count()


@broker.task
async def stamp(sent_ns: int) -> None:
    """As the others' job."""
    jobs.stamp(sent_ns)


tasks: dict[str, Any] = {"noop": noop, "pause": pause, "stamp": stamp}


class TaskiqPeer(Peer):
    """``taskiq worker`` with async jobs."""

    name = "taskiq"
    distributions = ("taskiq", "taskiq-redis", "redis")
    parallel = PROCESSES * 100
    how = (
        f"`taskiq worker --workers {PROCESSES}`; `RedisStreamBroker`, the one with acknowledgements; async jobs, "
        "100 at a time (its default)"
    )
    started = False

    def commands(self) -> list[list[str]]:
        return [
            ["taskiq", "worker", "--workers", str(PROCESSES), "--log-level", "WARNING", f"{__name__}:broker"]
        ]

    def enqueue(self, job: str, argument: int) -> None:
        self.enqueue_each(job, [argument])

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        loop.run_until_complete(self._enqueue_each(tasks[job], arguments))

    async def _enqueue_each(self, task: Any, arguments: Sequence[int]) -> None:
        if not self.started:
            await broker.startup()
            self.started = True
        for argument in arguments:
            await task.kiq(argument)


PEERS: list[Peer] = [TaskiqPeer()]
