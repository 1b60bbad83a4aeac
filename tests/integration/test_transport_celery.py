"""Celery's own worker on the lease transport, in every pool: each job runs once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from flask_nightshift.brokers.redis.transport.reclaim import AFTER_OUTAGE
from transport_support import Site
from transport_world import QUEUE, World


@pytest.fixture(params=["valkey", "redis_server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(Site(request.getfixturevalue(request.param)))
    yield made
    made.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_every_job_runs_once_and_nothing_is_left(world: World, pool: str) -> None:
    names = [f"job-{n}" for n in range(200)]
    world.enqueue(*names)
    world.enqueue("delayed", countdown=1)
    worker = world.worker(pool)
    world.wait(lambda: len(world.finished()) == 201)
    assert world.started() == Counter([*names, "delayed"])
    assert worker.stop() == 0
    world.wait(lambda: world.site.keys() == {b"started", b"finished"}, 5)


def test_the_jobs_of_a_killed_worker_run_again_within_five_seconds(world: World) -> None:
    world.wait(
        lambda: world.site.redis.info("server")["uptime_in_seconds"] > AFTER_OUTAGE, 10, "the server is young"
    )
    first = world.worker()
    world.enqueue("long-1", "long-2", seconds=60)
    world.enqueue("waiting-1", "waiting-2")
    world.wait(lambda: len(world.started()) == 2)
    world.worker(concurrency=4)
    world.wait(lambda: world.site.redis.zcard("nightshift:consumers") == 2)
    first.kill()
    killed = time.monotonic()
    world.wait(lambda: world.started()["long-1"] == 2 and len(world.finished()) == 2)
    assert time.monotonic() - killed < 5
    assert world.started() == Counter({"long-1": 2, "long-2": 2, "waiting-1": 1, "waiting-2": 1})


def test_cut_connections_make_no_duplicate_and_lose_nothing(world: World) -> None:
    world.worker()
    world.enqueue("long-1", "long-2", seconds=6)
    world.wait(lambda: len(world.started()) == 2)
    names = [f"job-{n}" for n in range(10)]
    world.enqueue(*names)
    world.wait(lambda: world.site.redis.hlen(world.site.redis.keys("nightshift:lease:*")[0]) > 2)
    world.worker()  # somebody who would take what seems abandoned
    for _ in range(2):
        world.site.redis.client_kill_filter(_type="normal", skipme=True)
        world.site.redis.client_kill_filter(_type="pubsub", skipme=True)
        time.sleep(1)  # the next cut is to find them connected again
    world.wait(lambda: len(world.finished()) == 12)
    world.wait(lambda: not world.site.leased(), 5)
    assert world.started() == Counter([*names, "long-1", "long-2"])


def test_a_warm_stop_ends_what_runs_and_returns_the_rest_uncounted(world: World) -> None:
    worker = world.worker(concurrency=1)
    world.enqueue("running", seconds=2)
    world.wait(lambda: world.started() == Counter(["running"]))
    world.enqueue("waiting-1", "waiting-2")
    world.wait(lambda: len(world.site.leased()) == 3)
    assert worker.stop() == 0
    assert world.finished() == world.started() == Counter(["running"])
    assert [args[0] for args, _, _ in world.site.ready(QUEUE)] == ["waiting-1", "waiting-2"]
    assert not any(b"x-delivery-count" in raw for raw in world.site.redis.lrange(QUEUE, 0, -1))


def test_a_killed_child_does_not_stop_the_others(world: World) -> None:
    world.worker()
    world.enqueue("long", seconds=3)
    world.wait(lambda: world.started() == Counter(["long"]))
    world.site.redis.set("victim", 1)
    worker = psutil.Process(world.workers[0].pid)
    busy = [child for child in worker.children(recursive=True) if child.is_running()]
    for process in busy:
        process.kill()
    world.enqueue("after")
    world.wait(lambda: world.finished()["after"] == 1 and world.finished()["long"] == 1)
    assert world.started()["long"] == 2  # it was counted and given out again


def test_children_that_are_replaced_do_not_disturb_the_parent(world: World) -> None:
    world.worker("prefork", "--max-tasks-per-child", "2")
    for round_ in range(3):
        names = [f"job-{round_}-{n}" for n in range(8)]
        world.enqueue(*names)
        world.wait(lambda names=names: all(world.finished()[name] == 1 for name in names))
    world.wait(lambda: not world.site.leased(), 5)
    assert set(world.started().values()) == {1}


def test_remote_control_goes_on(world: World) -> None:
    world.worker()
    world.enqueue("running", seconds=3)
    world.wait(lambda: world.started() == Counter(["running"]))
    inspect = world.app.control.inspect(timeout=10, limit=1)
    (active,) = (inspect.active() or {}).values()
    assert [job["name"] for job in active] == ["work"]
    (stats,) = (inspect.stats() or {}).values()
    assert stats["broker"]["transport"] == "redis"
    world.app.control.cancel_consumer(QUEUE, reply=True, timeout=10, limit=1)
    world.enqueue("unheard")
    world.wait(lambda: world.finished() == Counter(["running"]))
    assert world.site.redis.llen(QUEUE) == 1
    world.app.control.add_consumer(QUEUE, reply=True, timeout=10, limit=1)
    world.wait(lambda: world.finished() == Counter(["running", "unheard"]))
