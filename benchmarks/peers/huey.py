"""Huey."""

from __future__ import annotations

from huey import RedisHuey

from .. import jobs
from .base import PROCESSES, Peer

huey = RedisHuey("bench", url=jobs.broker_url(), results=False)
tasks = {name: huey.task()(getattr(jobs, name)) for name in jobs.NAMES}


class HueyPeer(Peer):
    """``huey_consumer`` with worker processes."""

    name = "huey"
    distributions = ("huey", "redis")
    parallel = PROCESSES
    how = f"`huey_consumer -w {PROCESSES} -k process -q -n`; results off, no periodic tasks, blocking pop"

    def commands(self) -> list[list[str]]:
        return [["huey_consumer", f"{__name__}.huey", "-w", str(PROCESSES), "-k", "process", "-q", "-n"]]

    def enqueue(self, job: str, argument: int) -> None:
        tasks[job](argument)


PEERS: list[Peer] = [HueyPeer()]
