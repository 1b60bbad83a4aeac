"""Celery's remote control and prefetch settings, with one worker per server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from transport_support import Site
from transport_world import QUEUE, World


@pytest.fixture(scope="module", params=["valkey", "redis_server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """One prefork worker for all tests of this module."""
    made = World(Site(request.getfixturevalue(request.param)))
    made.worker("prefork", "--hostname", "one@test", "-Q", "celery,other", concurrency=2).until_ready()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _clean(world: World) -> Iterator[None]:
    yield
    world.wait(lambda: not world.site.leased(), 30, "jobs are left")
    world.site.redis.delete("started", "finished")


def ask(world: World, command: str, **arguments: Any) -> Any:
    """Send one command to the worker; its answer."""
    answers = world.app.control.broadcast(
        command, arguments=arguments, destination=["one@test"], reply=True, timeout=20, limit=1
    )
    assert answers, f"no answer to {command}"
    return answers[0]["one@test"]


def test_inspect_tells_what_runs_waits_and_is_delayed(world: World) -> None:
    world.enqueue("running-1", "running-2", seconds=4)
    world.wait(lambda: len(world.started()) == 2)
    (waiting,) = world.enqueue("waiting")
    (delayed,) = world.enqueue("delayed", countdown=5)
    world.wait(lambda: waiting in {job["id"] for job in ask(world, "reserved")})
    assert {job["args"][0] for job in ask(world, "active")} == {"running-1", "running-2"}
    assert ask(world, "scheduled") == []  # it is in the broker, and no worker knows it
    assert [row[0] for row in _delayed(world)] == [delayed]
    stats = ask(world, "stats")
    assert stats["broker"]["transport"] == "redis"
    assert stats["prefetch_count"] == 8
    assert {queue["name"] for queue in ask(world, "active_queues")} == {"celery", "other"}
    assert ask(world, "query_task", ids=[waiting])[waiting][0] == "reserved"
    world.wait(lambda: world.finished()["delayed"] == 1)
    assert set(world.started().values()) == {1}


def test_prefetch_does_not_grow_with_delayed_jobs(world: World) -> None:
    before = ask(world, "stats")["prefetch_count"]
    names = [f"delayed-{n}" for n in range(30)]
    world.enqueue(*names, countdown=5)
    world.enqueue("plain", stock=True, countdown=5)  # came through kombu: is delayed by whoever claims it
    world.wait(lambda: len(_delayed(world)) == 31)
    assert ask(world, "stats")["prefetch_count"] == before
    world.wait(lambda: world.finished() == Counter([*names, "plain"]))
    assert ask(world, "stats")["prefetch_count"] == before


def test_consumers_are_cancelled_and_added(world: World) -> None:
    ask(world, "cancel_consumer", queue="other")
    world.enqueue("unheard", queue="other")
    world.enqueue("heard")
    world.wait(lambda: world.finished() == Counter(["heard"]))
    assert world.site.redis.llen("other") == 1
    ask(world, "add_consumer", queue="other")
    world.wait(lambda: world.finished() == Counter(["heard", "unheard"]))


def test_revoked_jobs_do_not_run_and_running_ones_are_terminated(world: World) -> None:
    running, _ = world.enqueue("long", "hold", seconds=4)
    world.wait(lambda: len(world.started()) == 2)
    prefetched, at_home = world.enqueue("waiting", "waiting-too")
    (delayed,) = world.enqueue("delayed", countdown=2)
    ask(world, "revoke", task_id=[prefetched, at_home, delayed])
    ask(world, "revoke", task_id=running, terminate=True, signal="SIGTERM")
    world.wait(lambda: world.finished() == Counter(["hold"]))
    world.wait(lambda: not _delayed(world) and not world.site.leased())
    assert set(ask(world, "revoked")) >= {prefetched, at_home, delayed, running}
    assert world.started() == Counter(["long", "hold"])
    assert world.finished() == Counter(["hold"])


def test_a_rate_limit_is_kept_to(world: World) -> None:
    ask(world, "rate_limit", task_name="work", rate_limit="4/s")
    began = time.monotonic()
    names = [f"limited-{n}" for n in range(10)]
    world.enqueue(*names)
    world.wait(lambda: len(world.finished()) == 10)
    assert time.monotonic() - began > 1.2
    ask(world, "rate_limit", task_name="work", rate_limit="0")
    assert set(world.started().values()) == {1}


def test_the_pool_grows_and_shrinks(world: World) -> None:
    before = ask(world, "stats")["prefetch_count"]
    ask(world, "pool_grow", n=1)
    world.enqueue("a", "b", "c", seconds=1.5)
    world.wait(lambda: len(world.started()) == 3 > len(world.finished()))
    world.wait(lambda: ask(world, "stats")["prefetch_count"] == before + 4)
    world.wait(lambda: len(world.finished()) == 3)
    ask(world, "pool_shrink", n=1)
    world.wait(lambda: ask(world, "stats")["prefetch_count"] == before)
    world.wait(lambda: len(ask(world, "stats")["pool"]["processes"]) == 2)
    world.enqueue("after")
    world.wait(lambda: world.finished()["after"] == 1)


def test_expired_jobs_do_not_run(world: World) -> None:
    world.enqueue("hold-1", "hold-2", seconds=4)
    world.wait(lambda: len(world.started()) == 2)
    # after a pool has shrunk, billiard hands one job over too early, where nobody looks at its expiry any more
    world.enqueue("handed over")
    world.enqueue("expired", expires=0.2)
    world.enqueue("in time", expires=60)
    world.wait(lambda: world.finished() == Counter(["hold-1", "hold-2", "handed over", "in time"]))
    assert world.started()["expired"] == 0


def test_others_see_the_lengths_of_the_ready_lists(world: World) -> None:
    ask(world, "cancel_consumer", queue="other")
    world.enqueue(*"abc", queue="other")
    world.enqueue("d", queue="other", stock=True)
    assert world.site.redis.llen("other") == 4  # celery-exporter, autoscalers
    with kombu.Connection(world.site.url) as stock:  # Flower's broker page, celery amqp queue.declare
        assert stock.default_channel.queue_declare("other", passive=True).message_count == 4
    ask(world, "add_consumer", queue="other")
    world.wait(lambda: len(world.finished()) == 4)
    world.wait(lambda: world.site.redis.llen("other") == 0)


@pytest.mark.parametrize("prefetch", [1, 4, 64])
def test_every_prefetch_with_several_queues_and_priorities(
    world: World, prefetch: int, another: Callable[..., Any]
) -> None:
    holding = ["q1-hold", "q2-hold"]
    names = [f"{queue}-{n}" for queue in ("q1", "q2", "q3") for n in range(44)]
    for name in holding:
        world.enqueue(name, queue=name[:2], priority=0, seconds=2)
    for at, name in enumerate(names):
        world.enqueue(name, queue=name[:2], priority=3 + at % 7)
    worker = another("prefork", "-Q", "q1,q2,q3", concurrency=2, prefetch=prefetch)
    world.wait(lambda: set(world.started()) == set(holding))
    most, held = 0, len(world.site.leased())
    while not world.finished():  # then what was counted before still is what two busy children leave room for
        most, held = max(most, held), len(world.site.leased())
    assert most == 2 * prefetch
    world.wait(lambda: len(world.finished()) == len(names) + 2)
    assert world.started() == Counter([*holding, *names])
    assert worker.stop() == 0


def test_urgent_jobs_run_first(world: World, another: Callable[..., Any]) -> None:
    for priority in (9, 0, 5, 3, 6):
        world.enqueue(f"p{priority}", queue="ranked", priority=priority)
    another("solo", "-Q", "ranked", concurrency=1, prefetch=1)
    world.wait(lambda: len(world.finished()) == 5)
    order = [name.decode() for name in world.site.redis.lrange("started", 0, -1)]
    assert order == ["p0", "p5", "p3", "p6", "p9"]  # 0 is the most urgent; 3 to 5 share a list


def test_autoscale(world: World, another: Callable[..., Any]) -> None:
    worker = another("prefork", "--autoscale", "4,1", "-Q", "scaled", prefetch=1)
    worker.until_ready()
    names = [f"job-{n}" for n in range(12)]
    world.enqueue(*names, queue="scaled", seconds=1)
    world.wait(lambda: len(world.started()) - len(world.finished()) >= 3, 30, "it does not grow")
    world.wait(lambda: world.finished() == Counter(names))
    assert worker.stop() == 0


@pytest.fixture
def another(world: World) -> Iterator[Callable[..., Any]]:
    """A worker of a test's own."""
    yield world.worker
    for worker in world.workers[1:]:
        worker.close()
    del world.workers[1:]


def _delayed(world: World) -> list[Any]:
    from flask_nightshift.brokers.redis.transport import queues

    return queues.delayed_list(world.site.redis, "", QUEUE, 1000)
