"""Tasks that are coroutines, and tasks with a request context, in each pool."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from system import Process, System, running

PLACES = [
    "valkey-prefork",
    "valkey-gevent",
    pytest.param("rabbitmq-prefork", marks=pytest.mark.rabbitmq),
    *(pytest.param(f"valkey-{pool}", marks=pytest.mark.thorough) for pool in ("threads", "solo")),
    *(
        pytest.param(f"rabbitmq-{pool}", marks=[pytest.mark.rabbitmq, pytest.mark.thorough])
        for pool in ("threads", "solo", "gevent")
    ),
]
SHOWN = {
    "root": "/shop/items/3",
    "external": "https://www.example.com/shop/items/3",
    "url": "https://www.example.com/shop/",
    "secure": True,
    "session": {},
    "app": "jobsapp",
}


class Place:
    """A system with one worker of a pool."""

    def __init__(self, system: System, pool: str) -> None:
        self.system, self.pool = system, pool
        options = ("--pool", pool, "--concurrency", "1" if pool == "solo" else "2")
        self.worker: Process = system.worker(*options)

    def begin(self, task: str, *args: Any) -> tuple[str, str]:
        """The id and the marker of a new job."""
        marker = uuid.uuid4().hex[:12]
        return self.system.enqueue(task, marker, *args), marker

    def ends(self, job: str, state: str) -> Any:
        return self.system.until_state(job, state, 40)

    def events(self, marker: str) -> list[str]:
        return self.system.events(marker)

    def has_begun(self, marker: str) -> None:
        self.system.until(lambda: "begun" in self.events(marker), 30, f"{marker} does not begin")


@pytest.fixture(params=PLACES, scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    broker, pool = request.param.split("-")
    server = request.getfixturevalue(broker)
    results = request.getfixturevalue("valkey").fresh_url()
    settings = {"FLASK_APP": "asyncapp", "NIGHTSHIFT_RESULT_BACKEND": results}
    with running(tmp_path_factory.mktemp(request.param), server.fresh_url(), **settings) as system:
        system.web()
        yield Place(system, pool)


def test_a_soft_limit_cancels_the_coroutine_and_never_raises_into_the_loop(place: Place) -> None:
    begun = [place.begin("async.busy") for _ in range(3)]
    for job, marker in begun:
        error = place.ends(job, "dead")["error"]["error"]
        assert error.endswith("SoftTimeLimitExceeded")
        assert place.events(marker) == ["cancelled"]
    caught, _ = place.begin("async.catches")
    assert place.ends(caught, "succeeded")["result"] == "what there is"


def test_a_hard_limit_ends_a_coroutine_that_refuses_to_be_cancelled(place: Place) -> None:
    job, marker = place.begin("async.stubborn")
    assert place.ends(job, "dead")["error"]["error"].endswith("TimeLimitExceeded")
    assert place.events(marker) == ["begun"]
    after, _ = place.begin("async.leaves")
    assert place.ends(after, "succeeded")["result"] == "left"


def test_a_cancelled_job_s_coroutine_is_cancelled(place: Place) -> None:
    for swallow in (False, True):
        job, marker = place.begin("async.waits", swallow)
        place.has_begun(marker)
        place.system.until(lambda: place.system.job(job)["state"] == "running", 20, "it is not seen")  # noqa: B023
        place.system.cli("cancel", job)
        place.ends(job, "cancelled")
        assert place.events(marker) == ["begun", "cancelled-True"]


def test_a_terminated_job_s_coroutine_cleans_up(place: Place) -> None:
    if place.pool != "prefork":
        pytest.skip("no other pool can terminate a job")
    job, marker = place.begin("async.waits")
    place.has_begun(marker)
    place.system.python(
        f"import asyncapp; asyncapp.create_app(); asyncapp.jobs.celery.control.revoke({job!r}, terminate=True)"
    )
    place.ends(job, "cancelled")
    assert place.events(marker) == ["begun", "cancelled-False"]


def test_what_a_job_leaves_behind_is_cancelled_and_named(place: Place) -> None:
    job, marker = place.begin("async.leaves")
    assert place.ends(job, "succeeded")["result"] == "left"
    assert place.events(marker) == ["left-ended"]
    if place.pool != "gevent":  # there asyncio.run() ends the loop of each job
        assert "async.leaves left 1 asyncio task(s) behind" in place.worker.log
        assert "left_behind" in place.worker.log


def test_errors_of_coroutines_are_judged_as_those_of_functions(place: Place) -> None:
    group, in_group = place.begin("async.fails", "group")
    itself, in_itself = place.begin("async.fails", "cancels itself")
    plain, in_plain = place.begin("async.fails", "plain")
    assert place.ends(group, "dead")["error"]["error"] == "ExceptionGroup"
    assert place.events(in_group) == ["begun"]
    assert "was cancelled by its own code" in place.ends(itself, "dead")["error"]["message"]
    assert place.ends(plain, "dead")["error"] == {"error": "OSError", "message": "plain"}
    assert place.events(in_itself) == place.events(in_plain) == ["begun"] * 2


def test_results_and_chords_of_coroutines(place: Place) -> None:
    said = place.system.python(
        "import asyncapp\n"
        "from celery import chord\n"
        "with asyncapp.create_app().app_context():\n"
        "    adds = asyncapp.adds\n"
        "    print(chord([adds.s([1]), adds.s([2], more=3)])(adds.s(more=10)).get(timeout=30))"
    )
    assert said.split() == ["16"]


def test_a_coroutine_enqueues_without_blocking_its_loop(place: Place) -> None:
    job, marker = place.begin("async.enqueues")
    place.ends(job, "succeeded")
    seen = json.loads(place.events(marker)[0])
    assert seen["me"] == seen["job"] == job
    for each in seen["ids"]:
        place.ends(each, "succeeded")
    shown = place.system.json("show", job)
    assert set(seen["ids"]) <= {child["job_id"] for child in _children(shown)}, shown


def _children(shown: Any) -> list[Any]:
    found: list[Any] = []
    stack = [shown]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            found += each.get("children") or []
            stack += each.values()
        elif isinstance(each, list):
            stack += each
    return found


def test_a_task_has_a_request_context(place: Place) -> None:
    begun = {task: place.begin(task) for task in ("request.short", "request.called", "request.async")}
    failing, failed = place.begin("request.short", True)
    for job, marker in begun.values():
        place.ends(job, "succeeded")
        place.system.until(lambda: len(place.events(marker)) == 2, 10, "no teardown")  # noqa: B023
        shown, teardown = place.events(marker)
        assert json.loads(shown) == SHOWN
        assert teardown == "teardown NoneType None"
    place.ends(failing, "dead")
    assert place.events(failed)[1:] == ["teardown ValueError None"]


def test_the_loop_is_one_for_each_thread_and_closed_with_it(place: Place) -> None:
    """The last test: the worker ends in it."""
    begun = [place.begin("async.where") for _ in range(8)]
    loops, markers = defaultdict(set), [marker for _, marker in begun]
    for job, marker in begun:
        place.ends(job, "succeeded")
        thread, loop = place.events(marker)[0].split()
        loops[thread].add(loop)
    if place.pool != "gevent":
        assert all(len(each) == 1 for each in loops.values()), loops
    assert place.worker.stop() == 0
    ended = [marker for marker in markers if "generator-ended" in place.events(marker)]
    assert len(ended) == (len(begun) if place.pool == "gevent" else len(loops))
    assert "was destroyed but it is pending" not in place.worker.log or place.pool != "prefork"


def test_a_worker_does_not_start_without_the_host_of_its_links(valkey: Any, tmp_path: Any) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="asyncapp", HOST="") as system:
        refused = system.cli("worker", ok=False)
        assert refused.returncode != 0
        for part in ("SERVER_NAME", "request.async", "www.example.com"):
            assert part in refused.stdout + refused.stderr
        found = [
            each
            for each in json.loads(system.cli("doctor", "--json", ok=False).stdout)
            if each["check"] == "request context"
        ]
        assert [each["level"] for each in found] == ["error"]


@pytest.mark.thorough
def test_celery_s_own_prefork_pool_raises_nothing_into_the_loop_either(valkey: Any, tmp_path: Any) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="asynccelerypoolapp") as system:
        system.web()
        worker = system.worker("--concurrency", "1")
        kept = "kept"
        system.until_state(system.enqueue("async.where", kept), "succeeded")
        for number in range(2):
            job = system.enqueue("async.busy", f"busy-{number}")
            error = system.until_state(job, "dead")["error"]["error"]
            assert error.endswith("SoftTimeLimitExceeded")
            assert system.events(f"busy-{number}") == ["cancelled"]
        assert worker.stop() == 0
        assert system.events(kept)[-1] == "generator-ended"
