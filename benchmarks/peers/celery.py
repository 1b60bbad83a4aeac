"""Celery without the extension: on kombu's own transports, and on Nightshift's lease transport."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery, group

from .. import jobs
from .base import PREFETCH, PROCESSES, RABBITMQ, REDIS, THREADS, USUAL, Peer

FLAVOUR = "BENCH_CELERY"
LEASE, QUORUM = "lease", "quorum"


def make_app(flavour: str) -> Celery:
    """The Celery app of the given flavour: ``lease``, ``quorum``, or empty for Celery's defaults."""
    app = Celery("bench", broker=jobs.broker_url())
    app.conf.update(
        worker_prefetch_multiplier=PREFETCH,
        task_ignore_result=True,  # "If you don't care about the results of a task, be sure to ignore them"
        broker_connection_retry_on_startup=True,
        broker_pool_limit=10,
    )
    if flavour == LEASE:
        app.conf.broker_transport = "flask_nightshift.transport:Transport"
    if flavour == QUORUM:
        app.conf.task_default_queue_type = "quorum"
        app.conf.broker_transport_options = {"confirm_publish": True}
        app.conf.task_acks_late = True
    return app


app = make_app(os.environ.get(FLAVOUR, ""))
tasks = {name: app.task(name=f"bench.{name}")(getattr(jobs, name)) for name in jobs.NAMES}


class CeleryPeer(Peer):
    """One pool of ``celery worker``."""

    distributions = ("celery", "kombu", "redis")
    bulk = "`group([...]).apply_async()`"

    def __init__(
        self,
        pool: str,
        workers: int,
        concurrency: int,
        servers: tuple[str, ...],
        measures: frozenset[str],
        flavour: str = "",
    ) -> None:
        self.pool, self.workers, self.concurrency, self.flavour = pool, workers, concurrency, flavour
        self.servers, self.measures = servers, measures
        self.parallel = workers * concurrency
        self.name = {"": f"celery-{pool}", LEASE: f"lease-transport-{pool}", QUORUM: f"celery-{pool}-quorum"}[
            flavour
        ]
        self.how = (
            f"{workers} of `celery worker --pool {pool} -c {concurrency} --without-gossip --without-mingle "
            f"--without-heartbeat`; `worker_prefetch_multiplier={PREFETCH}`, results ignored, "
            + {
                "": "acknowledged early and, on RabbitMQ, published without confirms to classic queues "
                "(Celery's defaults)",
                LEASE: "`broker_transport = 'flask_nightshift.transport:Transport'`: the transport alone, "
                "acknowledged early",
                QUORUM: "quorum queue, `confirm_publish`, `task_acks_late`: the like for like",
            }[flavour]
        )

    def commands(self) -> list[list[str]]:
        words = ["--pool", self.pool, "-c", str(self.concurrency)]
        words += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return [
            ["celery", "-A", __name__, "worker", *words, "-n", f"w{number}@bench"]
            for number in range(self.workers)
        ]

    def environment(self, home: str) -> Mapping[str, str]:  # noqa: ARG002
        return {FLAVOUR: self.flavour}

    def enqueue(self, job: str, argument: int) -> None:
        tasks[job].delay(argument)

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        delay = tasks[job].delay
        for argument in arguments:
            delay(argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        signature: Any = tasks[job].s
        group(signature(argument) for argument in arguments).apply_async()


SOME = frozenset({"drain", "io"})
PEERS: list[Peer] = [
    CeleryPeer("prefork", 1, PROCESSES, REDIS + RABBITMQ, USUAL),
    CeleryPeer("prefork", 1, PROCESSES, RABBITMQ, USUAL, QUORUM),
    CeleryPeer("threads", PROCESSES, THREADS, REDIS, SOME),
    CeleryPeer("solo", PROCESSES, 1, REDIS, SOME),
    CeleryPeer("prefork", 1, PROCESSES, REDIS, frozenset({"enqueue", "drain", "far"}), LEASE),
    CeleryPeer("solo", PROCESSES, 1, REDIS, frozenset({"drain"}), LEASE),
]
