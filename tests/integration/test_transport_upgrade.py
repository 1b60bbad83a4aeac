"""An upgrade in place from plain Celery, and back: old and new workers and producers on the same queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_nightshift.brokers.redis.transport import queues
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from transport_cluster import QUEUE, Cluster
from transport_support import Harness

EXPIRED: dict[str, Any] = {"visibility_timeout": 1}
"""For tests: what a killed old worker left is taken for abandoned after a second."""


@pytest.fixture(params=["valkey", "redis_server"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster(Harness(request.getfixturevalue(request.param)))
    yield made
    made.close()


def test_a_rolling_upgrade_and_the_way_back(cluster: Cluster) -> None:
    names = [f"job-{n}" for n in range(200)]
    old = cluster.worker("prefork", stock=True).until_ready()
    cluster.enqueue(*names[:40], stock=True)
    cluster.enqueue("later-1", stock=True, countdown=20)  # waits in the old worker's memory

    new = cluster.worker("prefork").until_ready()  # side by side
    cluster.enqueue(*names[40:80], stock=True)
    cluster.enqueue(*names[80:120])
    cluster.enqueue("urgent", priority=0)
    cluster.enqueue("less so", priority=9, stock=True)
    cluster.enqueue("later-2", countdown=20)
    cluster.enqueue("later-3", stock=True, countdown=20)

    cluster.wait(lambda: len(cluster.finished()) >= 122, 60)
    assert cluster.harness.redis.hlen("unacked") >= 1  # later-1, in the old worker's memory
    assert old.stop() == 0  # a warm stop gives back what it had
    assert not cluster.harness.redis.exists("unacked")
    cluster.wait(lambda: _delayed(cluster) == {"later-1", "later-2", "later-3"} - set(cluster.finished()))
    cluster.wait(lambda: len(cluster.finished()) == 125, 60)

    cluster.enqueue("back-later", countdown=4)  # and back
    old = cluster.worker("prefork", stock=True).until_ready()
    cluster.enqueue(*names[120:160])
    cluster.enqueue(*names[160:], stock=True)
    cluster.wait(lambda: len(cluster.finished()) == 206, 60)
    assert not _delayed(cluster)  # the last new worker stays until nothing is delayed
    assert new.stop() == 0
    assert set(cluster.started().values()) == {1}
    assert not cluster.harness.redis.keys("nightshift:lease*")
    assert old.stop() == 0


def test_messages_a_killed_old_worker_held_are_restored(cluster: Cluster) -> None:
    old = cluster.worker("threads", stock=True, concurrency=2)
    cluster.enqueue("running-1", "running-2", stock=True, seconds=60)
    cluster.enqueue("delayed", stock=True, countdown=8)
    cluster.wait(lambda: len(cluster.started()) == 2 and cluster.harness.redis.hlen("unacked") >= 3)
    cluster.enqueue("prefetched", stock=True)
    cluster.wait(lambda: cluster.harness.redis.hlen("unacked") == 4)
    due = datetime.now(UTC) + timedelta(seconds=1)
    old.kill()

    cluster.worker("threads", concurrency=4, **EXPIRED)
    cluster.wait(lambda: cluster.finished()["prefetched"] == 1)
    cluster.wait(lambda: cluster.started()["running-1"] == cluster.started()["running-2"] == 2)
    cluster.wait(lambda: cluster.finished()["delayed"] == 1)
    assert datetime.now(UTC) > due
    assert cluster.started()["delayed"] == 1
    assert not cluster.harness.redis.exists("unacked", "unacked_index")


def test_delayed_jobs_are_handed_to_old_workers_with_their_times(cluster: Cluster) -> None:
    cluster.enqueue("soon", countdown=5)
    cluster.enqueue("much later", countdown=3600)
    assert queues.hand_over_delayed(cluster.harness.redis, KeySpace(), QUEUE) == 2
    assert not _delayed(cluster)
    assert cluster.harness.redis.llen(QUEUE) == 2
    began = datetime.now(UTC)
    cluster.worker("threads", stock=True).until_ready()
    cluster.wait(lambda: cluster.finished() == Counter(["soon"]))
    assert (datetime.now(UTC) - began).total_seconds() < 30
    cluster.wait(lambda: cluster.harness.redis.hlen("unacked") == 1)


def _delayed(cluster: Cluster) -> set[Any]:
    found = queues.delayed_list(cluster.harness.redis, KeySpace(), QUEUE, 1000)
    return {body["headers"]["argsrepr"].split("'")[1] for _, _, body in found}
