"""Celery's remote control and prefetch settings, with one worker per server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from transport_cluster import QUEUE, Cluster
from transport_support import Harness


@pytest.fixture(scope="module", params=["valkey", "redis_server"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """One prefork worker for all tests of this module."""
    made = Cluster(Harness(request.getfixturevalue(request.param)))
    made.worker("prefork", "--hostname", "one@test", "-Q", "celery,other", concurrency=2).until_ready()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _clean(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.wait(lambda: not cluster.harness.leased(), 30, "jobs are left")
    cluster.harness.redis.delete("started", "finished")


def ask(cluster: Cluster, command: str, **arguments: Any) -> Any:
    """Send one command to the worker; its answer."""
    answers = cluster.app.control.broadcast(
        command, arguments=arguments, destination=["one@test"], reply=True, timeout=20, limit=1
    )
    assert answers, f"no answer to {command}"
    return answers[0]["one@test"]


def test_inspect_lists_running_waiting_and_delayed_jobs(cluster: Cluster) -> None:
    cluster.enqueue("running-1", "running-2", seconds=4)
    cluster.wait(lambda: len(cluster.started()) == 2)
    (waiting,) = cluster.enqueue("waiting")
    (delayed,) = cluster.enqueue("delayed", countdown=5)
    cluster.wait(lambda: waiting in {job["id"] for job in ask(cluster, "reserved")})
    assert {job["args"][0] for job in ask(cluster, "active")} == {"running-1", "running-2"}
    assert ask(cluster, "scheduled") == []  # it is in the broker, and no worker knows it
    assert [row[0] for row in _delayed(cluster)] == [delayed]
    stats = ask(cluster, "stats")
    assert stats["broker"]["transport"] == "redis"
    assert stats["prefetch_count"] == 8
    assert {queue["name"] for queue in ask(cluster, "active_queues")} == {"celery", "other"}
    assert ask(cluster, "query_task", ids=[waiting])[waiting][0] == "reserved"
    cluster.wait(lambda: cluster.finished()["delayed"] == 1)
    assert set(cluster.started().values()) == {1}


def test_prefetch_does_not_grow_with_delayed_jobs(cluster: Cluster) -> None:
    before = ask(cluster, "stats")["prefetch_count"]
    names = [f"delayed-{n}" for n in range(30)]
    cluster.enqueue(*names, countdown=5)
    cluster.enqueue("plain", stock=True, countdown=5)  # came through kombu: is delayed by whoever claims it
    cluster.wait(lambda: len(_delayed(cluster)) == 31)
    assert ask(cluster, "stats")["prefetch_count"] == before
    cluster.wait(lambda: cluster.finished() == Counter([*names, "plain"]))
    assert ask(cluster, "stats")["prefetch_count"] == before


def test_consumers_are_cancelled_and_added(cluster: Cluster) -> None:
    ask(cluster, "cancel_consumer", queue="other")
    cluster.enqueue("unheard", queue="other")
    cluster.enqueue("heard")
    cluster.wait(lambda: cluster.finished() == Counter(["heard"]))
    assert cluster.harness.redis.llen("other") == 1
    ask(cluster, "add_consumer", queue="other")
    cluster.wait(lambda: cluster.finished() == Counter(["heard", "unheard"]))


def test_revoked_jobs_do_not_run_and_running_ones_are_terminated(cluster: Cluster) -> None:
    running, _ = cluster.enqueue("long", "hold", seconds=4)
    cluster.wait(lambda: len(cluster.started()) == 2)
    prefetched, at_home = cluster.enqueue("waiting", "waiting-too")
    (delayed,) = cluster.enqueue("delayed", countdown=2)
    ask(cluster, "revoke", task_id=[prefetched, at_home, delayed])
    ask(cluster, "revoke", task_id=running, terminate=True, signal="SIGTERM")
    cluster.wait(lambda: cluster.finished() == Counter(["hold"]))
    cluster.wait(lambda: not _delayed(cluster) and not cluster.harness.leased())
    assert set(ask(cluster, "revoked")) >= {prefetched, at_home, delayed, running}
    assert cluster.started() == Counter(["long", "hold"])
    assert cluster.finished() == Counter(["hold"])


def test_a_rate_limit_is_kept_to(cluster: Cluster) -> None:
    ask(cluster, "rate_limit", task_name="work", rate_limit="4/s")
    began = time.monotonic()
    names = [f"limited-{n}" for n in range(10)]
    cluster.enqueue(*names)
    cluster.wait(lambda: len(cluster.finished()) == 10)
    assert time.monotonic() - began > 1.2
    ask(cluster, "rate_limit", task_name="work", rate_limit="0")
    assert set(cluster.started().values()) == {1}


def test_the_pool_grows_and_shrinks(cluster: Cluster) -> None:
    before = ask(cluster, "stats")["prefetch_count"]
    ask(cluster, "pool_grow", n=1)
    cluster.enqueue("a", "b", "c", seconds=1.5)
    cluster.wait(lambda: len(cluster.started()) == 3 > len(cluster.finished()))
    cluster.wait(lambda: ask(cluster, "stats")["prefetch_count"] == before + 4)
    cluster.wait(lambda: len(cluster.finished()) == 3)
    ask(cluster, "pool_shrink", n=1)
    cluster.wait(lambda: ask(cluster, "stats")["prefetch_count"] == before)
    cluster.wait(lambda: len(ask(cluster, "stats")["pool"]["processes"]) == 2)
    cluster.enqueue("after")
    cluster.wait(lambda: cluster.finished()["after"] == 1)


def test_expired_jobs_do_not_run(cluster: Cluster) -> None:
    cluster.enqueue("hold-1", "hold-2", seconds=4)
    cluster.wait(lambda: len(cluster.started()) == 2)
    # after a pool has shrunk, billiard hands one job over too early, where nobody looks at its expiry any more
    cluster.enqueue("handed over")
    cluster.enqueue("expired", expires=0.2)
    cluster.enqueue("in time", expires=60)
    cluster.wait(lambda: cluster.finished() == Counter(["hold-1", "hold-2", "handed over", "in time"]))
    assert cluster.started()["expired"] == 0


def test_others_see_the_lengths_of_the_ready_lists(cluster: Cluster) -> None:
    ask(cluster, "cancel_consumer", queue="other")
    cluster.enqueue(*"abc", queue="other")
    cluster.enqueue("d", queue="other", stock=True)
    assert cluster.harness.redis.llen("other") == 4  # celery-exporter, autoscalers
    with kombu.Connection(cluster.harness.url) as stock:  # Flower's broker page, celery amqp queue.declare
        assert stock.default_channel.queue_declare("other", passive=True).message_count == 4
    ask(cluster, "add_consumer", queue="other")
    cluster.wait(lambda: len(cluster.finished()) == 4)
    cluster.wait(lambda: cluster.harness.redis.llen("other") == 0)


@pytest.mark.parametrize("prefetch", [1, 4, 64])
def test_every_prefetch_with_several_queues_and_priorities(
    cluster: Cluster, prefetch: int, another: Callable[..., Any]
) -> None:
    holding = ["q1-hold", "q2-hold"]
    names = [f"{queue}-{n}" for queue in ("q1", "q2", "q3") for n in range(44)]
    for name in holding:
        cluster.enqueue(name, queue=name[:2], priority=0, seconds=2)
    for at, name in enumerate(names):
        cluster.enqueue(name, queue=name[:2], priority=3 + at % 7)
    worker = another("prefork", "-Q", "q1,q2,q3", concurrency=2, prefetch=prefetch)
    cluster.wait(lambda: set(cluster.started()) == set(holding))
    most, held = 0, len(cluster.harness.leased())
    while (
        not cluster.finished()
    ):  # then what was counted before still is what two busy children leave room for
        most, held = max(most, held), len(cluster.harness.leased())
    assert most == 2 * prefetch
    cluster.wait(lambda: len(cluster.finished()) == len(names) + 2)
    assert cluster.started() == Counter([*holding, *names])
    assert worker.stop() == 0


def test_urgent_jobs_run_first(cluster: Cluster, another: Callable[..., Any]) -> None:
    for priority in (9, 0, 5, 3, 6):
        cluster.enqueue(f"p{priority}", queue="ranked", priority=priority)
    another("solo", "-Q", "ranked", concurrency=1, prefetch=1)
    cluster.wait(lambda: len(cluster.finished()) == 5)
    order = [name.decode() for name in cluster.harness.redis.lrange("started", 0, -1)]
    assert order == ["p0", "p5", "p3", "p6", "p9"]  # 0 is the most urgent; 3 to 5 share a list


def test_autoscale(cluster: Cluster, another: Callable[..., Any]) -> None:
    worker = another("prefork", "--autoscale", "4,1", "-Q", "scaled", prefetch=1)
    worker.until_ready()
    names = [f"job-{n}" for n in range(12)]
    cluster.enqueue(*names, queue="scaled", seconds=1)
    cluster.wait(lambda: len(cluster.started()) - len(cluster.finished()) >= 3, 30, "it does not grow")
    cluster.wait(lambda: cluster.finished() == Counter(names))
    assert worker.stop() == 0


@pytest.fixture
def another(cluster: Cluster) -> Iterator[Callable[..., Any]]:
    """A worker of a test's own."""
    yield cluster.worker
    for worker in cluster.workers[1:]:
        worker.close()
    del cluster.workers[1:]


def _delayed(cluster: Cluster) -> list[Any]:
    from flask_nightshift.brokers.redis.transport import queues
    from flask_nightshift.brokers.redis.transport.keys import KeySpace

    return queues.delayed_list(cluster.harness.redis, KeySpace(), QUEUE, 1000)
