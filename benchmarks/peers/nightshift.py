"""Flask-Nightshift as users run it: a Flask app with the extension, ``flask jobs worker``, history in SQLite."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache

from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.task.base import JobTask

from .. import jobs
from .base import MEASURES, PREFETCH, PROCESSES, RABBITMQ, REDIS, THREADS, Peer

nightshift = Nightshift()
tasks = {name: nightshift.task(name=f"bench.{name}")(getattr(jobs, name)) for name in jobs.NAMES}


def create_app() -> Flask:
    """The app, for workers (``flask --app``) and for the process that enqueues."""
    app = Flask("bench", instance_path=os.environ["BENCH_HOME"])
    app.config["NIGHTSHIFT_BROKER_URL"] = jobs.broker_url()
    app.config["NIGHTSHIFT_CELERY"] = {"worker_prefetch_multiplier": PREFETCH}
    nightshift.init_app(app)
    return app


@cache
def made_app() -> Flask:
    """The app of the process that enqueues."""
    return create_app()


class NightshiftPeer(Peer):
    """One pool of ``flask jobs worker``."""

    distributions = ("Flask-Nightshift", "celery", "kombu", "redis")
    bulk = "`task.enqueue_many([...])`" if hasattr(JobTask, "enqueue_many") else ""

    def __init__(
        self, pool: str, workers: int, concurrency: int, measures: frozenset[str], log_level: str = "WARNING"
    ) -> None:
        self.name = f"nightshift-{pool}" + ("-logged" if log_level == "INFO" else "")
        self.servers = REDIS if log_level == "INFO" else REDIS + RABBITMQ
        self.measures = measures
        self.pool, self.workers, self.concurrency, self.log_level = pool, workers, concurrency, log_level
        self.parallel = workers * concurrency
        self.how = (
            f"{workers} of `flask jobs worker --pool {pool} -c {concurrency} -l {log_level}`; Flask app with the "
            f"extension, history in SQLite, `worker_prefetch_multiplier={PREFETCH}`, everything else by default"
        )

    def commands(self) -> list[list[str]]:
        words = ["--pool", self.pool, "-c", str(self.concurrency), "-l", self.log_level]
        return [[*_flask(), "worker", *words, "-n", f"w{number}@bench"] for number in range(self.workers)]

    def preparations(self) -> list[list[str]]:
        return [[*_flask(), "migrate"]]

    def environment(self, home: str) -> Mapping[str, str]:
        return {"BENCH_HOME": home}

    def enqueue(self, job: str, argument: int) -> None:
        made_app()
        tasks[job].delay(argument)

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        made_app()
        delay = tasks[job].delay
        for argument in arguments:
            delay(argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        if not self.bulk:
            self.enqueue_each(job, arguments)
            return
        made_app()
        tasks[job].enqueue_many((argument,) for argument in arguments)


def _flask() -> list[str]:
    return ["flask", "--app", __name__, "jobs"]


ALL = frozenset(MEASURES)
PEERS: list[Peer] = [
    NightshiftPeer("prefork", 1, PROCESSES, ALL),
    NightshiftPeer("threads", PROCESSES, THREADS, ALL - {"enqueue", "million"}),
    NightshiftPeer("solo", PROCESSES, 1, ALL - {"enqueue"}),
    NightshiftPeer("prefork", 1, PROCESSES, frozenset({"drain"}), log_level="INFO"),
]
