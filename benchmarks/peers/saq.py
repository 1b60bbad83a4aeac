"""SAQ. It runs in a virtual environment of its own, because it needs redis-py before 8."""

from __future__ import annotations

from typing import Any

from .. import jobs
from .aio import AsyncPeer
from .base import AT_ONCE, OLDER, PROCESSES, SHORT, Peer


class SaqPeer(AsyncPeer):
    """``saq`` with async jobs; the harness imports this class without SAQ."""

    name = "saq"
    distributions = ("saq", "redis")
    venv = OLDER
    measures = SHORT
    parallel = PROCESSES * AT_ONCE
    how = (
        f"`saq --workers {PROCESSES}`; async jobs, `concurrency={AT_ONCE}`, `ttl=-1`, so that nothing is written for "
        "results; it acknowledges after the job. It is here as the faster of SAQ and streaQ"
    )
    queue: Any

    def commands(self) -> list[list[str]]:
        return [["saq", f"{__name__}_worker.settings", "--workers", str(PROCESSES)]]

    async def connect(self) -> None:
        from saq import Queue

        self.queue = Queue.from_url(jobs.broker_url())
        await self.queue.connect()

    async def send(self, job: str, argument: int) -> None:
        await self.queue.enqueue(job, argument=argument, ttl=-1, timeout=60)


PEERS: list[Peer] = [SaqPeer()]
