"""Celery's remote control on our own worker: revoke, terminate, limit, grow and shrink lose no job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from desk import Desk, sitting

CHILDREN, EACH = 2, 2  # and so many jobs are taken for each


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def broker(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def desk(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One worker for all tests of this module, but for one."""
    folder = tmp_path_factory.mktemp("desk")
    with sitting(folder, broker.fresh_url(), worker_prefetch_multiplier=EACH) as made:
        made.system.worker("--concurrency", f"{CHILDREN}")
        yield made


def test_inspect_names_what_runs_what_waits_and_what_it_is(desk: Desk) -> None:
    held = desk.hold(CHILDREN)
    waiting, delayed = desk.send("succeed"), desk.send("succeed", countdown=2)
    desk.until(lambda: desk.ids("reserved") == {waiting.id}, "it is not prefetched")
    assert desk.ids("active") == {job.id for job in held}
    assert desk.ask("scheduled") == []  # it is in the broker, and no worker knows it
    assert desk.ask("query_task", ids=[waiting.id, delayed.id]).keys() == {waiting.id}
    stats = desk.ask("stats")
    assert stats["prefetch_count"] == CHILDREN * EACH
    assert stats["pool"]["implementation"] == "flask_nightshift.worker.pools.prefork:JobPool"
    assert len(stats["pool"]["processes"]) == CHILDREN
    assert {queue["name"] for queue in desk.ask("active_queues")} == {"celery", "other"}
    assert {"test.succeed", "test.shared"} <= set(desk.ask("registered"))
    for job in held:
        job.go_on()
    for job in [*held, waiting, delayed]:
        job.ran_once()
    assert desk.ask("active") == desk.ask("reserved") == []


def test_revoked_jobs_do_not_run_wherever_they_wait(desk: Desk) -> None:
    held = desk.hold(CHILDREN)
    delayed = desk.send("succeed", countdown=3)
    prefetched, kept = desk.send("succeed"), desk.send("succeed")
    desk.until(lambda: desk.ids("reserved") == {prefetched.id, kept.id}, "they are not prefetched")
    queued, kept_too = desk.send("succeed"), desk.send("succeed")
    assert desk.ids("reserved") == {prefetched.id, kept.id}
    desk.ask("revoke", task_id=[prefetched.id, queued.id, delayed.id])
    for job in held:
        job.go_on()
    for job in [*held, kept, kept_too]:
        job.ran_once()
    for job in (prefetched, queued, delayed):
        job.was_revoked(begun=0)
    assert desk.ready() == 0


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_job_that_is_terminated_stops_and_its_place_is_free_again(desk: Desk, signal: str) -> None:
    stays, victim = desk.hold(CHILDREN)
    before = set(desk.ask("stats")["pool"]["processes"])
    desk.ask("revoke", task_id=[victim.id], terminate=True, signal=signal)
    victim.was_revoked(begun=1)
    (successor,) = desk.hold(1)
    assert len(set(desk.ask("stats")["pool"]["processes"]) - before) == 1
    for job in (stays, successor):
        job.go_on()
        job.ran_once()
    assert not desk.system.processes[0].lines("job.retrying", job_id=victim.id)


def test_a_job_is_terminated_before_its_child_has_said_that_it_began(desk: Desk) -> None:
    children = psutil.Process(desk.system.processes[0].popen.pid).children()
    for child in children:
        child.suspend()
    job = desk.send("nap", 60)
    desk.until(lambda: desk.ids("reserved") == {job.id}, "it is not taken")
    desk.ask("revoke", task_id=[job.id], terminate=True)
    for child in children:
        child.resume()
    job.died("revoked")
    for job in desk.hold(CHILDREN):
        job.go_on()
        job.ran_once()


def test_a_replayed_job_runs_unless_it_is_revoked_again(desk: Desk) -> None:
    held = desk.hold(CHILDREN)
    revoked, expired = desk.send("succeed"), desk.send("succeed", expires=0.5)
    desk.ask("revoke", task_id=[revoked.id])
    time.sleep(0.5)  # what it takes to expire
    for job in held:
        job.go_on()
    revoked.died("revoked")
    expired.died("expired")
    held = desk.hold(CHILDREN)
    revoked.replay()
    desk.until(lambda: desk.ids("reserved") == {revoked.id}, "it is not prefetched")
    desk.ask("revoke", task_id=[revoked.id])
    for job in held:
        job.go_on()
    revoked.died("revoked")
    for job in (revoked, expired):
        job.replay()
        job.ran_once()


def test_consumers_are_cancelled_and_added(desk: Desk) -> None:
    desk.ask("cancel_consumer", queue="other")
    desk.until(lambda: len(desk.ask("active_queues")) == 1, "it is not cancelled")
    unheard = [desk.send("succeed", queue="other") for _ in range(3)]
    desk.send("succeed").ran_once()
    assert desk.ready("other") == 3
    desk.ask("add_consumer", queue="other")
    for job in unheard:
        job.ran_once()


@pytest.mark.parametrize("queue", ["late", "early"])
def test_a_queue_that_nobody_named_is_consumed_as_any_other(desk: Desk, queue: str) -> None:
    before = [desk.send("succeed", queue=queue)] if queue == "late" else []
    desk.ask("add_consumer", queue=queue)
    desk.until(lambda: len(desk.ask("active_queues")) == 3, "it is not added")
    for job in [*before, desk.send("succeed", queue=queue), desk.send("succeed", queue=queue, countdown=1)]:
        job.ran_once()
    flaky = desk.send("flaky", 1, queue=queue)
    desk.until(lambda: flaky.state == "succeeded", "it is not retried")
    desk.ask("cancel_consumer", queue=queue)
    desk.until(lambda: len(desk.ask("active_queues")) == 2, "it is not cancelled")


def test_a_rate_limit_is_kept_to_and_lifted(desk: Desk) -> None:
    assert "ok" in desk.ask("rate_limit", task_name="test.succeed", rate_limit="4/s")
    began = time.monotonic()
    limited = [desk.send("succeed") for _ in range(8)]
    desk.until(lambda: all(job.begun for job in limited), "they do not run")
    assert time.monotonic() - began > 1.5
    assert "ok" in desk.ask("rate_limit", task_name="test.succeed", rate_limit="2/h")
    lifted = [desk.send("succeed") for _ in range(6)]
    desk.ask("rate_limit", task_name="test.succeed", rate_limit="0")
    for job in [*limited, *lifted]:
        job.ran_once()


def test_the_pool_grows_and_shrinks_and_takes_as_much_as_it_can_run(desk: Desk) -> None:
    desk.ask("pool_grow", n=3)
    held = desk.hold(CHILDREN + 3)
    for job in held:
        job.go_on()
    for job in held:
        job.ran_once()
    desk.ask("pool_shrink", n=3)
    desk.until(lambda: len(desk.ask("stats")["pool"]["processes"]) == CHILDREN, "it does not shrink")
    held = desk.hold(CHILDREN)
    waiting = [desk.send("succeed") for _ in range(5)]
    desk.until(lambda: len(desk.ids("reserved")) == CHILDREN * (EACH - 1), "it takes too much or too little")
    assert desk.ready() == 3
    for job in held:
        job.go_on()
    for job in [*held, *waiting]:
        job.ran_once()


def test_children_are_replaced_after_so_many_jobs(desk: Desk) -> None:
    worker = desk.system.worker(
        "--concurrency", "2", "--queues", "short", "--max-jobs-per-child", "3", name="short"
    )
    jobs = [desk.send("pid", queue="short") for _ in range(24)]
    desk.until(lambda: all(job.state == "succeeded" for job in jobs), "they do not succeed")
    events = [job.events for job in jobs]
    assert all(len(each) == 1 for each in events), "each ran once"
    pids = [each[0] for each in events]
    assert max(pids.count(pid) for pid in pids) <= 3
    assert not worker.lines("job.retrying")
    assert worker.stop() == 0
