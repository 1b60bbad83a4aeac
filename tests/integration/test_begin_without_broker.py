"""The broker is silent when a job should begin: the job waits, and the report of the previous job still arrives."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from system import System

SETTINGS = json.dumps(
    {
        "worker_prefetch_multiplier": 16,
        "broker_transport_options": {"lease_seconds": 6.0, "lease_renew_seconds": 1.0},
    }
)


@pytest.mark.parametrize("broker", ["valkey"], indirect=True)
def test_nothing_is_stuck_when_the_broker_is_silent_between_two_jobs(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(NIGHTSHIFT_CELERY=SETTINGS)
    web, names = system.web(), [f"job-{number}" for number in range(10)]
    worker = system.worker("--concurrency", "1", wait=False)
    first = system.enqueue("test.nap", "first", 1)
    for name in names:
        system.enqueue("test.nap", name, 0)
    system.until(lambda: "begun" in system.events("first"), 40, "it does not begin")
    broker.freeze()
    try:
        troubles = "job.not_begun", "Connection to broker lost"
        system.until(lambda: any(text in worker.log for text in troubles), 20, "nobody noticed")
    finally:
        broker.thaw()
    system.until(lambda: all("done" in system.events(name) for name in names), 40, "some are stuck")
    assert worker.lines("job.succeeded", job_id=first), "its report was lost"
    assert system.events("first") == ["begun", "done"]
    system.until(lambda: _left(system) == 0, 20, "a job that has ended is still in the worker's hands")
    assert web.popen.poll() is None
    assert worker.stop() == 0


def _left(system: System) -> int:
    return sum(row["ready"] + row["leased"] for row in system.json("stats")["queues"])
