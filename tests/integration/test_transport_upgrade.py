"""An upgrade in place from plain Celery, and back: old and new workers and producers on the same queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_nightshift.brokers.redis.transport import queues
from transport_support import Site
from transport_world import QUEUE, World

EXPIRED: dict[str, Any] = {"visibility_timeout": 1}
"""For tests: what a killed old worker left is taken for abandoned after a second."""


@pytest.fixture(params=["valkey", "redis_server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(Site(request.getfixturevalue(request.param)))
    yield made
    made.close()


def test_a_rolling_upgrade_and_the_way_back(world: World) -> None:
    names = [f"job-{n}" for n in range(200)]
    old = world.worker("prefork", stock=True).until_ready()
    world.enqueue(*names[:40], stock=True)
    world.enqueue("later-1", stock=True, countdown=20)  # waits in the old worker's memory

    new = world.worker("prefork").until_ready()  # side by side
    world.enqueue(*names[40:80], stock=True)
    world.enqueue(*names[80:120])
    world.enqueue("urgent", priority=0)
    world.enqueue("less so", priority=9, stock=True)
    world.enqueue("later-2", countdown=20)
    world.enqueue("later-3", stock=True, countdown=20)

    world.wait(lambda: len(world.finished()) >= 122, 60)
    assert world.site.redis.hlen("unacked") >= 1  # later-1, in the old worker's memory
    assert old.stop() == 0  # a warm stop gives back what it had
    assert not world.site.redis.exists("unacked")
    world.wait(lambda: _delayed(world) == {"later-1", "later-2", "later-3"} - set(world.finished()))
    world.wait(lambda: len(world.finished()) == 125, 60)

    world.enqueue("back-later", countdown=4)  # and back
    old = world.worker("prefork", stock=True).until_ready()
    world.enqueue(*names[120:160])
    world.enqueue(*names[160:], stock=True)
    world.wait(lambda: len(world.finished()) == 206, 60)
    assert not _delayed(world)  # the last new worker stays until nothing is delayed
    assert new.stop() == 0
    assert set(world.started().values()) == {1}
    assert not world.site.redis.keys("nightshift:lease*")
    assert old.stop() == 0


def test_what_a_killed_old_worker_held_is_restored(world: World) -> None:
    old = world.worker("threads", stock=True, concurrency=2)
    world.enqueue("running-1", "running-2", stock=True, seconds=60)
    world.enqueue("delayed", stock=True, countdown=8)
    world.wait(lambda: len(world.started()) == 2 and world.site.redis.hlen("unacked") >= 3)
    world.enqueue("prefetched", stock=True)
    world.wait(lambda: world.site.redis.hlen("unacked") == 4)
    due = datetime.now(UTC) + timedelta(seconds=1)
    old.kill()

    world.worker("threads", concurrency=4, **EXPIRED)
    world.wait(lambda: world.finished()["prefetched"] == 1)
    world.wait(lambda: world.started()["running-1"] == world.started()["running-2"] == 2)
    world.wait(lambda: world.finished()["delayed"] == 1)
    assert datetime.now(UTC) > due
    assert world.started()["delayed"] == 1
    assert not world.site.redis.exists("unacked", "unacked_index")


def test_delayed_jobs_are_handed_to_old_workers_with_their_times(world: World) -> None:
    world.enqueue("soon", countdown=5)
    world.enqueue("much later", countdown=3600)
    assert queues.hand_over_delayed(world.site.redis, "", QUEUE) == 2
    assert not _delayed(world)
    assert world.site.redis.llen(QUEUE) == 2
    began = datetime.now(UTC)
    world.worker("threads", stock=True).until_ready()
    world.wait(lambda: world.finished() == Counter(["soon"]))
    assert (datetime.now(UTC) - began).total_seconds() < 30
    world.wait(lambda: world.site.redis.hlen("unacked") == 1)


def _delayed(world: World) -> set[Any]:
    found = queues.delayed_list(world.site.redis, "", QUEUE, 1000)
    return {body["headers"]["argsrepr"].split("'")[1] for _, _, body in found}
