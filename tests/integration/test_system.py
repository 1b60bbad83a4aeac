"""The acceptance test of a background-job system, on every broker, with separate web and worker processes."""

from __future__ import annotations

import re
import uuid
from itertools import pairwise
from typing import Any

import pytest

from system import System


def marker() -> str:
    return uuid.uuid4().hex[:12]


def test_a_job_from_an_endpoint_runs_in_another_process(shared_system: System) -> None:
    who = marker()
    job_id = shared_system.enqueue("test.succeed", who)
    job = shared_system.until_state(job_id, "succeeded")
    assert job == {
        "id": job_id, "task": "test.succeed", "state": "succeeded", "attempts": 1,
        "progress": None, "result": who, "error": None,
    }  # fmt: skip
    assert shared_system.events(who) == ["begun", "done-in-jobsapp", "done"]


def test_a_shared_task_runs_in_the_app_context_too(shared_system: System) -> None:
    who = marker()
    shared_system.until_state(shared_system.enqueue("test.shared", who), "succeeded")
    assert shared_system.events(who) == ["begun", "done-in-jobsapp"]


def test_a_failing_job_is_retried_by_its_policy_and_logged(shared_system: System) -> None:
    who = marker()
    job_id = shared_system.enqueue("test.flaky", who, 3)
    job = shared_system.until_state(job_id, "succeeded")
    assert job["attempts"] == 4
    worker = next(p for p in shared_system.processes if p.name == "worker")
    retries = worker.lines("job.retrying", job_id=job_id)
    assert [line["attempt"] for line in retries] == [1, 2, 3]
    assert [line["wait"] for line in retries] == [0.2, 0.4, 0.8]
    assert all(line["error"] == "ConnectionError" and "is down" in line["error_message"] for line in retries)
    begun = [line["timestamp"] for line in worker.lines("job.started", job_id=job_id)]
    assert len(begun) == 4
    assert all(earlier < later for earlier, later in pairwise(begun))


def test_a_hopeless_job_dies_and_is_replayed_to_success(shared_system: System) -> None:
    who = marker()
    job_id = shared_system.enqueue("test.broken_until_repaired", who)
    job = shared_system.until_state(job_id, "dead")
    assert job["error"] == {"error": "ConnectionError", "message": "not repaired yet"}
    assert job["attempts"] == 2
    shared_system.until(lambda: _letter(shared_system, job_id), 10, "the dead letter is not archived")
    letter = _letter(shared_system, job_id)
    assert letter["reason"] == "exhausted"
    shown = shared_system.cli("dead", "show", letter["id"]).stdout
    assert "not repaired yet" in shown
    assert "broken_until_repaired" in shown

    shared_system.ledger.with_name("ledger.repaired").touch()
    shared_system.cli("dead", "replay", letter["id"])
    job = shared_system.until_state(job_id, "succeeded")
    assert job["attempts"] == 1
    assert shared_system.events(who) == ["begun", "begun", "begun", "done"]


@pytest.mark.parametrize(
    ("task", "reason", "error", "attempts"),
    [
        ("test.permanent", "permanent", "flask_nightshift.errors.PermanentFailure", 1),
        ("test.never_again", "permanent", "KeyError", 1),
        ("test.unpicklable", "exhausted", "jobsapp.Unpicklable", 2),
        ("test.hang_softly", "exhausted", "billiard.exceptions.SoftTimeLimitExceeded", 2),
        (
            "test.hang",
            "exhausted",
            "billiard.einfo.TimeLimitExceeded|billiard.exceptions.TimeLimitExceeded",
            2,
        ),
        ("test.exit", "exhausted", "billiard.exceptions.WorkerLostError", 2),
    ],
)
def test_each_end_is_settled(
    shared_system: System, task: str, reason: str, error: str, attempts: int
) -> None:
    who = marker()
    job_id = shared_system.enqueue(task, who)
    job = shared_system.until_state(job_id, "dead", 40)
    assert re.fullmatch(error, job["error"]["error"])
    assert job["attempts"] == attempts
    assert shared_system.events(who).count("begun") == attempts
    shared_system.until(lambda: _letter(shared_system, job_id), 10, "the dead letter is not archived")
    assert _letter(shared_system, job_id)["reason"] == reason


def test_the_job_of_a_killed_child_is_retried(shared_system: System) -> None:
    who = marker()
    job = shared_system.until_state(shared_system.enqueue("test.kill_child", who, 2), "succeeded", 40)
    assert job["attempts"] == 3
    assert shared_system.events(who) == ["begun", "begun", "begun", "done"]


def test_a_task_asks_for_a_retry_with_other_arguments(shared_system: System) -> None:
    who = marker()
    job = shared_system.until_state(shared_system.enqueue("test.ask", who), "succeeded")
    assert job["attempts"] == 3


def test_progress_can_be_followed(shared_system: System) -> None:
    who = marker()
    job_id = shared_system.enqueue("test.progress", who)
    shared_system.until(lambda: shared_system.job(job_id)["progress"], 15, "no progress is seen")
    assert shared_system.job(job_id)["progress"] == {"done": 1, "total": 4, "message": "a quarter"}
    shared_system.ledger.with_name(f"ledger.{who}").touch()
    assert shared_system.until_state(job_id, "succeeded")["result"] == {"marker": who}


def test_a_task_with_a_queue_of_its_own_is_consumed(shared_system: System) -> None:
    who = marker()
    shared_system.until_state(shared_system.enqueue("test.queue", who), "succeeded")
    assert shared_system.events(who) == ["begun", "done"]


def test_a_delayed_job_waits_in_the_broker_and_starts_in_time(shared_system: System) -> None:
    who = marker()
    job_id = shared_system.enqueue("test.succeed", who, countdown=2)
    job = shared_system.until_state(job_id, "succeeded", 15)
    assert job["attempts"] == 1
    worker = next(p for p in shared_system.processes if p.name == "worker")
    (started,) = worker.lines("job.started", job_id=job_id)
    assert started["wait"] < 1.5, "it was taken long before or after its time"


def test_an_unknown_job_has_the_state_unknown(shared_system: System) -> None:
    assert shared_system.job("no-such-job")["state"] == "unknown"


def _letter(system: System, job_id: str) -> dict[str, Any]:
    return next((letter for letter in system.dead() if letter["job_id"] == job_id), {})
