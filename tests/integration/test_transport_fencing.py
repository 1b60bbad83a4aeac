"""A worker that was frozen for longer than its lease detects it, and changes nothing any more."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from transport_cluster import Cluster
from transport_support import Harness

SHORT: dict[str, Any] = {"lease_seconds": 2.0, "lease_renew_seconds": 0.4}


@pytest.fixture(params=["valkey", "redis_server"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster(Harness(request.getfixturevalue(request.param)))
    yield made
    made.close()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_frozen_worker_is_fenced(cluster: Cluster, pool: str) -> None:
    # given a worker with a job that runs and others that wait in its memory
    frozen = cluster.worker(pool, concurrency=1, prefetch=4, **SHORT)
    cluster.enqueue("running", seconds=3)
    cluster.wait(lambda: cluster.started() == Counter(["running"]))
    waiting = ["waiting-1", "waiting-2"]
    if pool == "solo":  # takes no message while it runs one
        waiting = []
    cluster.enqueue(*waiting)
    cluster.wait(lambda: len(cluster.harness.leased()) == 1 + len(waiting))

    # when its whole host stands still, and another worker takes over
    frozen.signal_all(signal.SIGSTOP)
    cluster.enqueue("later")
    other = cluster.worker("threads", concurrency=4, **SHORT)
    cluster.wait(lambda: cluster.finished() == Counter(["running", "later", *waiting]))
    cluster.wait(lambda: not cluster.harness.leased())
    assert cluster.started() == Counter(["running", "running", "later", *waiting])
    cluster.enqueue("held", seconds=5)
    cluster.wait(lambda: cluster.started()["held"] == 1)

    # then it says so when it is back, its late acknowledgement changes nothing, and nothing is run again
    frozen.signal_all(signal.SIGCONT)
    cluster.wait(lambda: "job.lease_lost" in frozen.log, 20, "it does not notice")
    cluster.wait(lambda: cluster.finished()["running"] == 2)
    cluster.enqueue("after", "after-too", "after-all")
    cluster.wait(lambda: set(cluster.finished()) >= {"held", "after", "after-too", "after-all"})
    cluster.wait(lambda: not cluster.harness.leased())
    counts = cluster.started()
    assert counts.pop("running") == 2  # the attempt that was under way could not be called back
    assert set(counts.values()) == {1}
    assert "job.returned" in other.log

    # and it works again
    other.kill()
    cluster.enqueue("last")
    cluster.wait(lambda: cluster.finished()["last"] == 1)
    assert frozen.stop() == 0
    assert cluster.harness.redis.hlen("nightshift:leased") == 0
