"""A job that goes back to its queue gets there even if the broker does not answer at that moment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from system import System

pytestmark = pytest.mark.parametrize("broker", ["valkey", "rabbitmq"], indirect=True)

SHORT = json.dumps({"broker_transport_options": {"lease_seconds": 6.0, "lease_renew_seconds": 1.0}})


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_return_that_is_not_answered_is_repeated(
    broker: Any, new_system: Callable[..., System], pool: str
) -> None:
    system = new_system(NIGHTSHIFT_CELERY=SHORT)
    system.web()
    worker = system.worker("--pool", pool, "--concurrency", "1")
    job_id = system.enqueue("test.turned_down", "job", 1)
    system.until(lambda: worker.lines("job.started", job_id=job_id), 20, "it does not begin")
    broker.freeze()
    try:
        system.until(lambda: "rejects" in system.events("job"), 20, "it does not end")
        if "redis" in broker.url:  # RabbitMQ does not answer a rejection
            system.until(lambda: worker.lines("job.unsettled", job_id=job_id), 20, "nobody noticed")
            assert worker.lines("job.returned") == []
    finally:
        broker.thaw()
    system.until(lambda: "done" in system.events("job"), 30, "it has not come back")
    assert system.events("job") == ["begun", "rejects", "begun", "done"]
    assert len(worker.lines("job.returned", job_id=job_id)) == 1
    system.until_state(system.enqueue("test.succeed", "another"), "succeeded", 20)
