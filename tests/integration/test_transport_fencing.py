"""A worker that was frozen for longer than its lease detects it, and changes nothing any more."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from transport_support import Site
from transport_world import World

SHORT: dict[str, Any] = {"lease_seconds": 2.0, "lease_renew_seconds": 0.4}


@pytest.fixture(params=["valkey", "redis_server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(Site(request.getfixturevalue(request.param)))
    yield made
    made.close()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_frozen_worker_is_fenced(world: World, pool: str) -> None:
    # given a worker with a job that runs and others that wait in its memory
    frozen = world.worker(pool, concurrency=1, prefetch=4, **SHORT)
    world.enqueue("running", seconds=3)
    world.wait(lambda: world.started() == Counter(["running"]))
    waiting = ["waiting-1", "waiting-2"]
    if pool == "solo":  # takes no message while it runs one
        waiting = []
    world.enqueue(*waiting)
    world.wait(lambda: len(world.site.leased()) == 1 + len(waiting))

    # when its whole host stands still, and another worker takes over
    frozen.signal_all(signal.SIGSTOP)
    world.enqueue("later")
    other = world.worker("threads", concurrency=4, **SHORT)
    world.wait(lambda: world.finished() == Counter(["running", "later", *waiting]))
    world.wait(lambda: not world.site.leased())
    assert world.started() == Counter(["running", "running", "later", *waiting])
    world.enqueue("held", seconds=5)
    world.wait(lambda: world.started()["held"] == 1)

    # then it says so when it is back, its late acknowledgement changes nothing, and nothing is run again
    frozen.signal_all(signal.SIGCONT)
    world.wait(lambda: "job.lease_lost" in frozen.log, 20, "it does not notice")
    world.wait(lambda: world.finished()["running"] == 2)
    world.enqueue("after", "after-too", "after-all")
    world.wait(lambda: set(world.finished()) >= {"held", "after", "after-too", "after-all"})
    world.wait(lambda: not world.site.leased())
    counts = world.started()
    assert counts.pop("running") == 2  # the attempt that was under way could not be called back
    assert set(counts.values()) == {1}
    assert "job.returned" in other.log

    # and it works again
    other.kill()
    world.enqueue("last")
    world.wait(lambda: world.finished()["last"] == 1)
    assert frozen.stop() == 0
    assert world.site.redis.hlen("nightshift:leased") == 0
