"""The gevent pool: it keeps a lease although everything is monkey-patched."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from system import System, running
from transport_cluster import Cluster
from transport_support import Harness


@pytest.fixture(params=["valkey", "redis_server"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster(Harness(request.getfixturevalue(request.param)))
    yield made
    made.close()


def test_the_jobs_of_a_killed_worker_run_again_and_a_warm_stop_is_clean(cluster: Cluster) -> None:
    first = cluster.worker("gevent", concurrency=20)
    long = [f"long-{n}" for n in range(10)]
    cluster.enqueue(*long, seconds=60)
    cluster.wait(lambda: len(cluster.started()) == 10)
    second = cluster.worker("gevent", concurrency=20).until_ready()
    first.kill()
    killed = time.monotonic()
    cluster.wait(lambda: all(cluster.started()[name] == 2 for name in long))
    assert time.monotonic() - killed < 10
    second.kill()
    cluster.harness.redis.flushall()

    third = cluster.worker("gevent", concurrency=2, prefetch=2)
    cluster.enqueue("running-1", "running-2", seconds=3)
    cluster.wait(lambda: len(cluster.started()) == 2)
    waiting = [f"waiting-{n}" for n in range(20)]
    cluster.enqueue(*waiting, seconds=0.5)
    assert third.stop() == 0
    back = [args[0] for args, _, _ in cluster.harness.ready("celery")]
    assert (
        cluster.started() == cluster.finished()
    )  # a full gevent pool has Celery's loop wait with one in hand
    assert cluster.finished() == Counter({"running-1", "running-2", *waiting} - set(back))
    assert back, "it did not stop"
    assert cluster.harness.redis.zcard("nightshift:consumers") == 0


def test_a_job_that_blocks_the_loop_keeps_its_lease(cluster: Cluster) -> None:
    short: dict[str, Any] = {"lease_seconds": 2.0, "lease_renew_seconds": 0.4}
    busy = cluster.worker("gevent", concurrency=4, **short)
    cluster.app.send_task("spin", ["busy", 7.0])
    cluster.wait(lambda: cluster.started() == Counter(["busy"]))
    cluster.worker("solo", **short).until_ready()  # somebody who would take what seems abandoned
    cluster.wait(lambda: cluster.finished() == Counter(["busy"]))
    cluster.wait(lambda: not cluster.harness.leased(), 10)
    assert cluster.started() == Counter(["busy"])
    assert "job.lease_lost" not in busy.log


def test_flask_jobs_worker_runs_it(valkey: object, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url()) as system:  # type: ignore[attr-defined]
        system.web()
        worker = system.worker("--pool", "gevent", "--concurrency", "50")
        began = time.monotonic()
        ids = [system.enqueue("test.succeed", f"j{n}", 2) for n in range(40)]
        for job_id in ids:
            system.until_state(job_id, "succeeded", 60)
        assert time.monotonic() - began < 40, "they did not run side by side"
        assert all(system.events(f"j{n}").count("begun") == 1 for n in range(40))
        flaky = system.enqueue("test.flaky", "flaky", 2)
        assert system.until_state(flaky, "succeeded")["attempts"] == 3
        _over_its_limit(system)
        assert worker.stop() == 0


def _over_its_limit(system: System) -> None:
    """A hard limit ends the attempt; the job is retried and then dies. gevent has no soft limits."""
    job_id = system.enqueue("test.hang", "hang")
    job = system.until_state(job_id, "dead", 60)
    assert job["attempts"] == 2
    assert "TimeLimitExceeded" in job["error"]["error"]
