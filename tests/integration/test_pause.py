"""A paused queue: no worker begins a job of it, whatever happens to workers, broker and database."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from opsapp import Ops, opened
from remote_control import RemoteControl
from system import Process, System, running

WITHIN = 2.0
"""Seconds within which a pause or its end takes effect."""
SLOW = 1.0
"""Seconds that a busy machine may take longer."""


class Cluster(RemoteControl):
    """Workers of the queues ``mail`` and ``celery``, which can be paused."""

    def __init__(self, system: System, ops: Ops, server: Any) -> None:
        super().__init__(system, ops)
        self.server = server

    def worker(
        self, name: str = "worker", *options: str, transport: str = "lease", celery: str = "{}"
    ) -> Process:
        settings = {"NIGHTSHIFT_REDIS_TRANSPORT": transport, "NIGHTSHIFT_CELERY": celery}
        words = ("--queues", "mail,celery", "--concurrency", "2", *options)
        return self.system.worker(*words, name=name, wait=True, **settings)

    def order(self, *words: str) -> str:
        return self.ops.ok(*words)

    def pause(self, *queues: str) -> None:
        """Pause them, and wait until every worker that is ready has heard of it."""
        self.order("pause", *queues, "--reason", "deploy")
        began = time.monotonic()
        workers = [each for each in self.system.processes if each.popen.poll() is None]
        self.until(
            lambda: all(each.lines("queue.paused", queue=queue) for each in workers for queue in queues),
            "it is not heard of",
        )
        assert time.monotonic() - began < WITHIN + SLOW

    def short(self, count: int, queue: str = "mail") -> list[Any]:
        return [self.send("succeed", queue=queue) for _ in range(count)]

    def wait_for(self, jobs: list[Any]) -> None:
        self.until(lambda: all("done" in job.events for job in jobs), "they do not end")

    def nothing_begins(self, jobs: list[Any]) -> None:
        """Another queue's jobs, enqueued later, end, and a moment later none of ``jobs`` has begun."""
        self.wait_for(self.short(2, "celery"))
        time.sleep(0.5)
        assert not any(job.begun for job in jobs)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    broker, database = request.param
    server, settings = request.getfixturevalue(broker), {}
    if database != "sqlite":
        settings["NIGHTSHIFT_DATABASE_URL"] = request.getfixturevalue(database).fresh_url()
    url = server.fresh_url()
    with (
        running(tmp_path, url, **settings) as system,
        opened(tmp_path, url, migrate=False, **settings) as ops,
    ):
        yield Cluster(system, ops, server)


PAIRS = [("valkey", "sqlite"), ("rabbitmq", "postgres")]
pairs = pytest.mark.parametrize("cluster", PAIRS, indirect=True, ids=[f"{a}-{b}" for a, b in PAIRS])


@pairs
def test_a_pause_holds_for_the_whole_cluster_until_it_ends(cluster: Cluster) -> None:
    cluster.worker("one")
    cluster.worker("two", "--pool", "threads")
    running_job, other = cluster.hold(1, queue="mail")[0], cluster.hold(1, queue="celery")[0]
    cluster.pause("mail")
    early = cluster.ops.run("pause", "mail", "--wait", "2.5")
    assert (early.exit_code, early.stderr.count("@test holds 1 job")) == (1, 1), early.stderr
    due_soon = cluster.send("succeed", queue="mail", countdown=1)
    waiting = [*cluster.short(6), due_soon]
    cluster.worker("later", "--pool", "solo")
    running_job.go_on()
    cluster.order("pause", "mail", "--wait", "20")
    assert "done" in running_job.events
    assert "done" not in other.events
    other.go_on()
    for command in ("cancel_consumer", "add_consumer"):
        cluster.ask(command, "one@test", queue="mail")
    cluster.nothing_begins(waiting)
    cluster.until(lambda: cluster.ready("mail") == len(waiting), "the delayed one is not ready")

    cluster.order("resume", "mail")
    ended = time.monotonic()
    cluster.wait_for(waiting)
    assert time.monotonic() - ended < WITHIN + SLOW
    for job in waiting:
        job.ran_once()


@pairs
def test_nothing_of_a_paused_queue_starts_while_workers_die_and_connections_break(cluster: Cluster) -> None:
    victim = cluster.worker("victim")
    held = cluster.hold(2, queue="mail")
    cluster.pause("mail")
    waiting = cluster.short(4)
    victim.kill_tree()
    cluster.worker("survivor")
    cluster.nothing_begins(waiting)
    assert [job.begun for job in held] == [1, 1], "the jobs of the killed worker wait, too"

    cluster.server.stop()
    cluster.server.start()
    cluster.until(lambda: cluster.short(1, "celery"), "the broker is not back")
    cluster.nothing_begins(waiting)
    for job in held:
        job.go_on()
    cluster.order("resume", "mail")
    cluster.wait_for([*waiting, *held])
    for job in waiting:
        job.ran_once()


@pytest.mark.parametrize("cluster", [("valkey", "sqlite")], indirect=True)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_jobs_that_a_worker_took_ahead_go_back_in_order_and_uncounted(cluster: Cluster, pool: str) -> None:
    settings = json.dumps(
        {"worker_prefetch_multiplier": 8, "task_annotations": {"test.nap": {"rate_limit": "1/h"}}}
    )
    cluster.worker("worker", "--pool", pool, celery=settings)
    running_jobs = cluster.hold(2, queue="mail")
    limited = [cluster.send("nap", 0.0, queue="mail") for _ in range(3)]
    ahead = cluster.short(6)
    cluster.until(lambda: cluster.ready("mail") == 0, "the worker does not take them")
    cluster.pause("mail")
    cluster.until(lambda: cluster.ready("mail") == 9, "they do not come back", 5)
    ids = [headers["id"] for headers in cluster.ops.waiting("mail")]
    assert [each for each in ids if each not in {job.id for job in limited}] == [job.id for job in ahead]
    assert not any("x-delivery-count" in headers for headers in cluster.ops.waiting("mail"))
    for job in running_jobs:
        job.go_on()
    cluster.nothing_begins(ahead)
    assert cluster.order("purge", "mail", "--yes") == "mail: 9 jobs deleted\n"
    assert sum("done" in job.events for job in limited) == 0


@pytest.mark.parametrize("cluster", [("rabbitmq", "postgres")], indirect=True)
def test_jobs_in_quarantine_wait_for_the_end_of_the_pause(cluster: Cluster) -> None:
    victim = cluster.worker("victim")
    held = cluster.hold(2, queue="mail")
    victim.kill_tree()
    survivor = cluster.worker("survivor")
    cluster.until(lambda: sum(job.begun for job in held) == 3, "none of them runs again")
    cluster.pause("mail")
    (running_job,) = (job for job in held if job.begun == 2)
    (waiting,) = (job for job in held if job.begun == 1)
    running_job.go_on()
    cluster.wait_for([running_job])
    cluster.nothing_begins([])
    assert waiting.begun == 1
    cluster.order("resume", "mail")
    cluster.until(lambda: waiting.begun == 2, "it does not begin after the pause")
    waiting.go_on()
    cluster.wait_for([waiting])
    assert survivor.popen.poll() is None


@pytest.mark.parametrize("cluster", [("rabbitmq", "postgres")], indirect=True)
def test_a_worker_that_cannot_ask_consumes_and_keeps_to_the_pause_later(
    cluster: Cluster, postgres: Any
) -> None:
    cluster.pause("mail")
    postgres.stop()
    worker = cluster.worker("blind")
    assert worker.lines("orders.unknown")
    cluster.wait_for(cluster.short(1))
    postgres.start()
    cluster.until(lambda: worker.lines("queue.paused", queue="mail"), "it does not hear of the pause", 20)
    cluster.nothing_begins(cluster.short(1))


@pytest.mark.parametrize("cluster", [("redis_server", "sqlite")], indirect=True)
def test_workers_on_kombus_own_transport_end_their_consumers(cluster: Cluster) -> None:
    transport = "kombu"
    cluster.worker("one", "--pool", "solo", transport=transport)
    cluster.pause("mail")
    waiting = cluster.short(2)
    cluster.worker("two", transport=transport)
    cluster.nothing_begins(waiting)
    cluster.order("resume", "mail")
    cluster.wait_for(waiting)
