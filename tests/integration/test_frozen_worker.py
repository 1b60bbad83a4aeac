"""A job that waited in a frozen worker (for a thread, greenlet or child) does not run there: another worker ran it."""

from __future__ import annotations

import json
import signal
from typing import Any

import psutil
import pytest

from system import System

SETTINGS = json.dumps(
    {
        "worker_prefetch_multiplier": 4,
        "broker_transport_options": {"lease_seconds": 2.0, "lease_renew_seconds": 0.4},
    }
)


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_a_job_that_waited_in_a_frozen_worker_does_not_run_there(
    valkey: Any, tmp_path: Any, request: pytest.FixtureRequest, pool: str
) -> None:
    system = System(tmp_path, valkey.fresh_url(), NIGHTSHIFT_CELERY=SETTINGS)
    request.addfinalizer(system.close)
    system.web()
    frozen = system.worker("--pool", pool, "--concurrency", "1", name="frozen")
    system.enqueue("test.succeed", "running", 4)
    system.until(lambda: system.events("running"), 20, "it has not begun")
    waiting = [f"waiting-{n}" for n in range(3)]
    for name in waiting:
        system.enqueue("test.succeed", name)
    with valkey.client() as client:
        system.until(lambda: _leased(client) == 4, 20, "they are not in its hands")

    frozen.signal(signal.SIGSTOP)
    other = system.worker("--pool", "threads", "--concurrency", "4", name="other")
    system.until(lambda: all("done" in system.events(name) for name in [*waiting, "running"]), 40, "not done")
    frozen.signal(signal.SIGCONT)
    system.until(lambda: "job.lease_lost" in frozen.log, 20, "it does not notice")
    system.until(lambda: system.events("running").count("done") == 2, 20, "its running job has not ended")
    other.stop()
    system.enqueue("test.succeed", "after")
    system.until(lambda: "done" in system.events("after"), 20, "it does not work again")
    assert [system.events(name).count("begun") for name in waiting] == [1, 1, 1]


def test_a_job_that_waited_for_a_child_of_a_frozen_worker_is_not_handed_over(
    valkey: Any, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    """It freezes between two reports, each of which frees a child."""
    system = System(tmp_path, valkey.fresh_url(), NIGHTSHIFT_CELERY=SETTINGS)
    request.addfinalizer(system.close)
    system.web()
    frozen = system.worker("--concurrency", "2", name="frozen", FREEZE_AFTER_A_JOB="1")
    running, waiting = ["running-0", "running-1"], [f"waiting-{n}" for n in range(3)]
    for name in running:
        system.enqueue("test.succeed", name, 1.5)
    system.until(lambda: len(frozen.lines("job.started")) == 2, 20, "they have not begun")
    for name in [*waiting, "HOLD-THE-LOOP"]:
        system.enqueue("test.succeed", name)

    process = psutil.Process(frozen.popen.pid)
    system.until(lambda: process.status() == psutil.STATUS_STOPPED, 20, "it has not frozen")
    system.worker("--pool", "threads", "--concurrency", "4", name="other")
    system.until(lambda: all("done" in system.events(name) for name in [*waiting, *running]), 40, "not done")
    with valkey.client() as client:
        system.until(lambda: not _leased(client), 20, "the other worker is not done")
    frozen.signal(signal.SIGCONT)
    system.until(lambda: "job.lease_lost" in frozen.log, 20, "it does not notice")
    next(p for p in system.processes if p.name == "other").stop()
    for name in ("after-0", "after-1"):
        system.enqueue("test.succeed", name, 1)
    system.until(lambda: "done" in system.events("after-1"), 20, "it does not work again")
    assert [system.events(name).count("begun") for name in waiting] == [1, 1, 1]


@pytest.mark.rabbitmq
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_job_that_waited_in_a_worker_rabbitmq_gave_up_does_not_begin_there(
    rabbitmq: Any, tmp_path: Any, request: pytest.FixtureRequest, pool: str
) -> None:
    """Its job ends while it is frozen, so it learns of the free slot before it learns of the lost connection."""
    settings = json.dumps({"worker_prefetch_multiplier": 4, "broker_heartbeat": 2})
    system = System(tmp_path, rabbitmq.fresh_url(), NIGHTSHIFT_CELERY=settings)
    request.addfinalizer(system.close)
    system.web()
    frozen = system.worker("--pool", pool, "--concurrency", "1", name="frozen")
    system.enqueue("test.nap", "running", 1)
    system.until(lambda: system.events("running"), 20, "it has not begun")
    waiting = [f"waiting-{n}" for n in range(3)]
    for name in waiting:
        system.enqueue("test.nap", name, 0)
    frozen.signal(signal.SIGSTOP)
    system.worker("--pool", "threads", "--concurrency", "4", name="other")
    system.until(lambda: all("done" in system.events(name) for name in [*waiting, "running"]), 40, "not done")
    frozen.signal(signal.SIGCONT)
    system.until(lambda: frozen.log.count("Connected to") == 2, 20, "it does not connect anew")
    next(process for process in system.processes if process.name == "other").stop()
    system.enqueue("test.nap", "after", 0)
    system.until(lambda: "done" in system.events("after"), 20, "it does not work again")
    assert [system.events(name).count("begun") for name in waiting] == [1, 1, 1]


def _leased(client: Any) -> int:
    return int(client.hget("nightshift:leased", "celery") or 0)
