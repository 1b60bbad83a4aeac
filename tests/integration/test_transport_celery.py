"""Celery's own worker on the lease transport, in every pool: each job runs once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from flask_nightshift.brokers.redis.transport.reclaim import AFTER_OUTAGE
from transport_cluster import QUEUE, Cluster
from transport_support import Harness


@pytest.fixture(params=["valkey", "redis_server"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster(Harness(request.getfixturevalue(request.param)))
    yield made
    made.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_every_job_runs_once_and_nothing_is_left(cluster: Cluster, pool: str) -> None:
    names = [f"job-{n}" for n in range(200)]
    cluster.enqueue(*names)
    cluster.enqueue("delayed", countdown=1)
    worker = cluster.worker(pool)
    cluster.wait(lambda: len(cluster.finished()) == 201)
    assert cluster.started() == Counter([*names, "delayed"])
    assert worker.stop() == 0
    cluster.wait(lambda: cluster.harness.keys() == {b"started", b"finished"}, 5)


def test_the_jobs_of_a_killed_worker_run_again_within_five_seconds(cluster: Cluster) -> None:
    cluster.wait(
        lambda: cluster.harness.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE,
        10,
        "the server is young",
    )
    first = cluster.worker()
    cluster.enqueue("long-1", "long-2", seconds=60)
    cluster.enqueue("waiting-1", "waiting-2")
    cluster.wait(lambda: len(cluster.started()) == 2)
    cluster.worker(concurrency=4)
    cluster.wait(lambda: cluster.harness.redis.zcard("nightshift:consumers") == 2)
    first.kill()
    killed = time.monotonic()
    cluster.wait(lambda: cluster.started()["long-1"] == 2 and len(cluster.finished()) == 2)
    assert time.monotonic() - killed < 5
    assert cluster.started() == Counter({"long-1": 2, "long-2": 2, "waiting-1": 1, "waiting-2": 1})


def test_cut_connections_make_no_duplicate_and_lose_nothing(cluster: Cluster) -> None:
    cluster.worker()
    cluster.enqueue("long-1", "long-2", seconds=6)
    cluster.wait(lambda: len(cluster.started()) == 2)
    names = [f"job-{n}" for n in range(10)]
    cluster.enqueue(*names)
    cluster.wait(lambda: cluster.harness.redis.hlen(cluster.harness.redis.keys("nightshift:lease:*")[0]) > 2)
    cluster.worker()  # somebody who would take what seems abandoned
    for _ in range(2):
        cluster.harness.redis.client_kill_filter(_type="normal", skipme=True)
        cluster.harness.redis.client_kill_filter(_type="pubsub", skipme=True)
        time.sleep(1)  # the next cut is to find them connected again
    cluster.wait(lambda: len(cluster.finished()) == 12)
    cluster.wait(lambda: not cluster.harness.leased(), 5)
    assert cluster.started() == Counter([*names, "long-1", "long-2"])


def test_a_warm_stop_ends_what_runs_and_returns_the_rest_uncounted(cluster: Cluster) -> None:
    worker = cluster.worker(concurrency=1)
    cluster.enqueue("running", seconds=2)
    cluster.wait(lambda: cluster.started() == Counter(["running"]))
    cluster.enqueue("waiting-1", "waiting-2")
    cluster.wait(lambda: len(cluster.harness.leased()) == 3)
    assert worker.stop() == 0
    assert cluster.finished() == cluster.started() == Counter(["running"])
    assert [args[0] for args, _, _ in cluster.harness.ready(QUEUE)] == ["waiting-1", "waiting-2"]
    assert not any(b"x-delivery-count" in raw for raw in cluster.harness.redis.lrange(QUEUE, 0, -1))


def test_a_killed_child_does_not_stop_other_children(cluster: Cluster) -> None:
    cluster.worker()
    cluster.enqueue("long", seconds=3)
    cluster.wait(lambda: cluster.started() == Counter(["long"]))
    cluster.harness.redis.set("victim", 1)
    worker = psutil.Process(cluster.workers[0].pid)
    busy = [child for child in worker.children(recursive=True) if child.is_running()]
    for process in busy:
        process.kill()
    cluster.enqueue("after")
    cluster.wait(lambda: cluster.finished()["after"] == 1 and cluster.finished()["long"] == 1)
    assert cluster.started()["long"] == 2  # it was counted and given out again


def test_children_that_are_replaced_do_not_disturb_the_parent(cluster: Cluster) -> None:
    cluster.worker("prefork", "--max-tasks-per-child", "2")
    for round_ in range(3):
        names = [f"job-{round_}-{n}" for n in range(8)]
        cluster.enqueue(*names)
        cluster.wait(lambda names=names: all(cluster.finished()[name] == 1 for name in names))
    cluster.wait(lambda: not cluster.harness.leased(), 5)
    assert set(cluster.started().values()) == {1}


def test_remote_control_goes_on(cluster: Cluster) -> None:
    cluster.worker()
    cluster.enqueue("running", seconds=3)
    cluster.wait(lambda: cluster.started() == Counter(["running"]))
    inspect = cluster.app.control.inspect(timeout=10, limit=1)
    (active,) = (inspect.active() or {}).values()
    assert [job["name"] for job in active] == ["work"]
    (stats,) = (inspect.stats() or {}).values()
    assert stats["broker"]["transport"] == "redis"
    cluster.app.control.cancel_consumer(QUEUE, reply=True, timeout=10, limit=1)
    cluster.enqueue("unheard")
    cluster.wait(lambda: cluster.finished() == Counter(["running"]))
    assert cluster.harness.redis.llen(QUEUE) == 1
    cluster.app.control.add_consumer(QUEUE, reply=True, timeout=10, limit=1)
    cluster.wait(lambda: cluster.finished() == Counter(["running", "unheard"]))
