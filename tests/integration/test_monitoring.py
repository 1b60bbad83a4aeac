"""Celery's events, and the tools that use them (Flower, exporters)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from monitor import Monitor
from servers import free_port
from system import System, running

WHOLE = ["task-received", "task-started", "task-succeeded"]


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    url = request.getfixturevalue(request.param).fresh_url()
    with running(tmp_path_factory.mktemp("monitoring"), url) as system:
        system.web()
        yield system


@pytest.fixture
def monitor(system: System) -> Iterator[Monitor]:
    watching = Monitor(system.env["NIGHTSHIFT_BROKER_URL"])
    yield watching
    watching.close()


def told(system: System, monitor: Monitor, job_id: str, *types: str) -> list[dict[str, Any]]:
    """The events of a job, whose types are ``types``, in this order and no others."""
    system.until(
        lambda: [event["type"] for event in monitor.of_job(job_id)][-1:] == [types[-1]],
        30,
        f"not told: {types}; told: {monitor.of_job(job_id)}",
    )
    events = monitor.of_job(job_id)
    assert [event["type"] for event in events] == list(types)
    clocks = [event["clock"] for event in events]
    assert clocks == sorted(clocks)
    return events


def test_events_are_switched_on_and_are_celerys(system: System, monitor: Monitor) -> None:
    system.worker("--concurrency", "2")
    system.until(monitor.of_worker, 20, "the worker does not show")
    assert {event["hostname"] for event in monitor.of_worker()} == {"worker@test"}
    system.until_state(system.enqueue("test.succeed", "unseen"), "succeeded")
    answers = monitor.app.control.broadcast("enable_events", reply=True, timeout=5, limit=1)
    assert answers == [{"worker@test": {"ok": "task events enabled"}}]

    control = monitor.app.control
    control.revoke("11111111-aaaa-4aaa-8aaa-111111111111", reply=True, timeout=5, limit=1)
    succeeded = system.enqueue("test.succeed", "seen")
    failed = system.enqueue("test.permanent", "p")
    retried = system.enqueue("test.flaky", "f", 1)
    killed = system.enqueue("test.kill_child", "k", 1)
    revoked = system.enqueue("test.succeed", "r", task_id="11111111-aaaa-4aaa-8aaa-111111111111")
    expired = system.enqueue("test.succeed", "e", expires="2020-01-01T00:00:00+00:00")
    rejected = system.enqueue("test.refused", "x")

    received, _, done = told(system, monitor, succeeded, *WHOLE)
    assert (received["name"], received["args"]) == ("test.succeed", "['seen']")
    assert done["result"] == "'seen'"
    assert done["runtime"] >= 0
    *_, end = told(system, monitor, failed, "task-received", "task-started", "task-failed")
    assert end["exception"] == "PermanentFailure('there is no such account')"
    assert "there is no such account" in end["traceback"]
    again = told(system, monitor, retried, "task-received", "task-started", "task-retried", *WHOLE)[2]
    assert again["exception"] == "ConnectionError('the partner of f is down')"
    again = told(system, monitor, killed, "task-received", "task-started", "task-retried", *WHOLE)[2]
    assert again["exception"].startswith("WorkerLostError(")
    *_, end = told(system, monitor, revoked, "task-revoked")
    assert (end["terminated"], end["expired"]) == (False, False)
    told(system, monitor, rejected, "task-received", "task-started", "task-rejected")
    if "redis" in system.env["NIGHTSHIFT_BROKER_URL"]:  # RabbitMQ itself buries what has expired
        *_, end = told(system, monitor, expired, "task-revoked")
        assert end["expired"] is True

    system.processes[-1].stop()
    system.until(lambda: monitor.of_worker()[-1]["type"] == "worker-offline", 20, "it left without a word")


def test_flower_sees_workers_and_jobs(system: System) -> None:
    system.worker("-E", "--concurrency", "1")
    port = free_port()
    argv = [sys.executable, "-m", "celery", "-A", "celeryapp:celery", "flower", f"--port={port}"]
    flower = system._start("flower", argv, {"FLOWER_UNAUTHENTICATED_API": "true"})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as http:

        def workers() -> list[dict[str, Any]]:
            try:
                return list(http.get("/workers?json=1").json()["data"])
            except httpx.TransportError:
                assert flower.popen.poll() is None, flower.log
                return []

        system.until(lambda: [row["status"] for row in workers()] == [True], 60, "Flower sees no worker")
        succeeded, failed = system.enqueue("test.succeed", "s"), system.enqueue("test.permanent", "p")

        def state(job_id: str) -> str | None:
            found = http.get(f"/api/task/info/{job_id}")
            return str(found.json()["state"]) if found.status_code == 200 else None

        system.until(lambda: state(succeeded) == "SUCCESS", 30, "Flower does not see the job")
        system.until(lambda: state(failed) == "FAILURE", 30, "Flower does not see the failure")
        assert http.get(f"/api/task/info/{failed}").json()["exception"].startswith("PermanentFailure(")
        assert workers()[0]["hostname"] == "worker@test"
        system.until(
            lambda: set(http.get("/api/workers?refresh=1").json()) == {"worker@test"},
            30,
            "the worker does not answer Flower",
        )
