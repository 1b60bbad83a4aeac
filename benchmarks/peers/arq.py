"""arq. It runs in a virtual environment of its own, because it needs redis-py before 6."""

from __future__ import annotations

from typing import Any

from .. import jobs
from .aio import AsyncPeer
from .base import AT_ONCE, OLDER, PROCESSES, SHORT, Peer


class ArqPeer(AsyncPeer):
    """``arq`` with async jobs; the harness imports this class without arq."""

    name = "arq"
    distributions = ("arq", "redis")
    venv = OLDER
    measures = SHORT
    parallel = PROCESSES * AT_ONCE
    how = (
        f"{PROCESSES} of `arq`; async jobs, `max_jobs={AT_ONCE}`, `keep_result=0`, `log_results=False`, and "
        "`poll_delay=0.02`, because it polls and the default of half a second would be its latency; it acknowledges "
        "after the job"
    )
    pool: Any

    def commands(self) -> list[list[str]]:
        return [["arq", f"{__name__}_worker.WorkerSettings"] for _ in range(PROCESSES)]

    async def connect(self) -> None:
        from arq import create_pool
        from arq.connections import RedisSettings

        self.pool = await create_pool(RedisSettings.from_dsn(jobs.broker_url()))

    async def send(self, job: str, argument: int) -> None:
        await self.pool.enqueue_job(job, argument)


PEERS: list[Peer] = [ArqPeer()]
