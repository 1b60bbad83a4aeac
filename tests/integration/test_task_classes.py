"""Tasks of any class: their jobs have an app context, are retried, and become dead letters."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from system import System, running

FAST = json.dumps({"retry_backoff": 0.1, "retry_jitter": False})
IDIOMS = {
    "idiom.shared": ["called"],
    "idiom.super": ["called"],
    "idiom.ours": [],
    "idiom.plain": ["called"],
    "idiom.by_class": [],
    "tasksapp.ByInstance": [],
    "idiom.context": ["called"],
    "idiom.factory": ["called"],
}
"""The task, and what its class notes of each attempt before the body does."""


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    server = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("tasks")
    settings = {"FLASK_APP": "tasksapp", "NIGHTSHIFT_TASK_DEFAULTS": FAST}
    with running(folder, server.fresh_url(), **settings) as made:
        made.web()
        made.worker("--concurrency", "2")
        yield made


def marker() -> str:
    return uuid.uuid4().hex[:12]


def body(events: list[str]) -> list[str]:
    return [event for event in events if not event.startswith("retries-")]


def test_any_class_gets_the_app_and_a_second_attempt_and_a_dead_letter(system: System) -> None:
    well = {name: marker() for name in IDIOMS}
    ill = {name: marker() for name in IDIOMS}
    good = {name: system.enqueue(name, who) for name, who in well.items()}
    bad = {name: system.enqueue(name, who, True) for name, who in ill.items()}
    for name, before in IDIOMS.items():
        begins = [*before, "begun", "in-jobsapp"]
        system.until_state(good[name], "succeeded")
        assert body(system.events(well[name])) == [*begins, "done"], name
        job = system.until_state(bad[name], "dead")
        assert body(system.events(ill[name])) == begins * 2, name
        assert job["error"] == {"error": "ConnectionError", "message": "always"}, (name, job)
    assert {letter["job_id"] for letter in system.dead(reason="exhausted")} >= set(bad.values())


def test_doctor_looks_at_tasks_of_any_class(system: System) -> None:
    assert {finding["check"] for finding in system.json("doctor")} >= {"broker", "database", "workers"}


def test_a_user_s_request_class_is_called_and_the_job_is_settled(system: System) -> None:
    who = marker()
    job = system.enqueue("idiom.request", who, 30)
    system.until_state(job, "dead")
    told = system.until(lambda: len(system.events(who)) == 6 and system.events(who), 10, "two attempts")
    assert sorted(told) == ["begun"] * 2 + ["hard-limit-1"] * 2 + ["request-failed"] * 2
    who = marker()
    system.until_state(system.enqueue("idiom.request", who), "dead")
    told = system.until(lambda: len(system.events(who)) == 4 and system.events(who), 10, "two failures")
    assert told == ["begun", "request-failed"] * 2


def test_a_request_class_that_calls_nothing_of_ours_leaves_no_job_unsettled(system: System) -> None:
    markers = {how: marker() for how in ("well", "fail", "kill")}
    jobs = {how: system.enqueue("idiom.forgetful", who, how) for how, who in markers.items()}
    for how, job in jobs.items():
        system.until_state(job, "succeeded" if how == "well" else "dead")
        assert system.events(markers[how]).count("begun") == (1 if how == "well" else 2), how


def test_hooks_run_in_an_app_context_of_their_own(system: System) -> None:
    ends = [
        "before_start",
        "begun",
        "on_retry",
        "before_start",
        "begun",
        "on_failure",
        "after_return-FAILURE",
    ]
    told = dict.fromkeys(("fails", "hangs", "kills"), ends)
    told["well"] = ["before_start", "begun", "on_success", "after_return-SUCCESS"]
    markers = {how: marker() for how in told}
    jobs = {how: system.enqueue("idiom.hooked", who, how) for how, who in markers.items()}
    for how, job in jobs.items():
        system.until_state(job, "succeeded" if how == "well" else "dead")
        expected = [event if event == "begun" else f"{event}-in-jobsapp" for event in told[how]]
        who = markers[how]
        system.until(lambda: len(system.events(who)) >= len(expected), 10, f"{expected} {system.events(who)}")  # noqa: B023
        assert system.events(who) == expected, how


def test_a_retry_that_the_body_swallows_still_happens(system: System) -> None:
    markers = {how: marker() for how in ("except", "suppress", "finally", "another")}
    jobs = {how: system.enqueue("idiom.swallow", who, how) for how, who in markers.items()}
    for how, job in jobs.items():
        system.until_state(job, "succeeded")
        assert system.events(markers[how]) == ["begun", "begun", "done"], how


def test_a_coroutine_runs_in_the_app_with_its_request_and_its_limit(system: System) -> None:
    who, asking, failing, late = marker(), marker(), marker(), marker()
    well = system.enqueue("idiom.async", who, 0.1)
    asked = system.enqueue("idiom.async_retry", asking)
    failed = system.enqueue("idiom.async", failing, 0, True)
    hung = system.enqueue("idiom.async", late, 30)
    assert system.until_state(well, "succeeded")["result"] == {"id": well, "job": well}
    assert system.events(who) == ["begun", "in-jobsapp", "done"]
    system.until_state(asked, "succeeded")
    assert system.events(asking) == ["begun", "begun", "done"]
    assert system.until_state(failed, "dead")["error"] == {"error": "ConnectionError", "message": "always"}
    assert system.until_state(hung, "dead")["error"]["error"].endswith("SoftTimeLimitExceeded")
    assert system.events(late) == ["cancelled"] * 2


def test_a_task_sees_the_headers_of_its_caller_and_can_send_them_on(system: System) -> None:
    who = marker()
    system.enqueue("idiom.headers", who, headers={"tenant": "acme"})
    system.until(lambda: system.events(who).count("done") == 2, 30, f"twice done: {system.events(who)}")
    seen = [json.loads(event.removeprefix("headers ")) for event in system.events(who) if "headers" in event]
    assert seen == [{"tenant": "acme"}] * 2 + [{"tenant": "acme", "generation": "2"}] * 2
    assert {event for event in system.events(who) if event.startswith("ours")} == {"ours []"}


def test_what_a_task_prints_is_a_line_for_each_print(system: System) -> None:
    who = marker()
    system.until_state(system.enqueue("idiom.prints", who), "succeeded")
    worker: Any = system.processes[1]
    lines = [
        entry for entry in map(json.loads, filter(_is_json, worker.log.splitlines())) if who in str(entry)
    ]
    printed = [entry["event"] for entry in lines if entry.get("event", "").startswith(who)]
    assert printed == [f"{who} 1 [2]", f"{who} ends 3!", f"{who} line\n{who} line"]


def _is_json(line: str) -> bool:
    return line.startswith("{")


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_other_pools_run_them_alike(redis_server: Any, at: Callable[..., System], pool: str) -> None:
    system = at(redis_server.fresh_url(), FLASK_APP="tasksapp", NIGHTSHIFT_TASK_DEFAULTS=FAST)
    system.worker("--pool", pool, "--concurrency", "4")
    one, two, asking, failing, hooked, swallow = (marker() for _ in range(6))
    coroutines = [system.enqueue("idiom.async", who, 0.3) for who in (one, two)]
    asked = system.enqueue("idiom.async_retry", asking)
    failed = system.enqueue("idiom.super", failing, True)
    told = system.enqueue("idiom.hooked", hooked, "fails")
    swallowed = system.enqueue("idiom.swallow", swallow, "except")
    for job in coroutines:
        assert system.until_state(job, "succeeded")["result"] == {"id": job, "job": job}
    system.until_state(asked, "succeeded")
    assert system.events(asking) == ["begun", "begun", "done"]
    system.until_state(failed, "dead")
    assert body(system.events(failing)) == ["called", "begun", "in-jobsapp"] * 2
    system.until_state(told, "dead")
    assert system.events(hooked)[-2:] == ["on_failure-in-jobsapp", "after_return-FAILURE-in-jobsapp"]
    system.until_state(swallowed, "succeeded")
    assert system.events(swallow) == ["begun", "begun", "done"]
