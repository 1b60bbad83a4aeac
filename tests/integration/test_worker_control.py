"""Celery's remote control on our own worker: revoke, terminate, limit, grow and shrink lose no job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from remote_control import RemoteControl, remote_control

CHILDREN, EACH = 2, 2  # and so many jobs are taken for each


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def broker(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def control(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteControl]:
    """One worker for all tests of this module except one."""
    folder = tmp_path_factory.mktemp("control")
    with remote_control(folder, broker.fresh_url(), worker_prefetch_multiplier=EACH) as made:
        made.system.worker("--concurrency", f"{CHILDREN}")
        yield made


def test_inspect_names_what_runs_what_waits_and_what_it_is(control: RemoteControl) -> None:
    held = control.hold(CHILDREN)
    waiting, delayed = control.send("succeed"), control.send("succeed", countdown=2)
    control.until(lambda: control.ids("reserved") == {waiting.id}, "it is not prefetched")
    assert control.ids("active") == {job.id for job in held}
    assert control.ask("scheduled") == []  # it is in the broker, and no worker knows it
    assert control.ask("query_task", ids=[waiting.id, delayed.id]).keys() == {waiting.id}
    stats = control.ask("stats")
    assert stats["prefetch_count"] == CHILDREN * EACH
    assert stats["pool"]["implementation"] == "flask_nightshift.worker.pools.prefork:JobPool"
    assert len(stats["pool"]["processes"]) == CHILDREN
    assert {queue["name"] for queue in control.ask("active_queues")} == {"celery", "other"}
    assert {"test.succeed", "test.shared"} <= set(control.ask("registered"))
    for job in held:
        job.go_on()
    for job in [*held, waiting, delayed]:
        job.ran_once()
    assert control.ask("active") == control.ask("reserved") == []


def test_revoked_jobs_do_not_run_wherever_they_wait(control: RemoteControl) -> None:
    held = control.hold(CHILDREN)
    delayed = control.send("succeed", countdown=3)
    prefetched, kept = control.send("succeed"), control.send("succeed")
    control.until(lambda: control.ids("reserved") == {prefetched.id, kept.id}, "they are not prefetched")
    queued, kept_too = control.send("succeed"), control.send("succeed")
    assert control.ids("reserved") == {prefetched.id, kept.id}
    control.ask("revoke", task_id=[prefetched.id, queued.id, delayed.id])
    for job in held:
        job.go_on()
    for job in [*held, kept, kept_too]:
        job.ran_once()
    for job in (prefetched, queued, delayed):
        job.was_revoked(begun=0)
    assert control.ready() == 0


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_a_job_that_is_terminated_stops_and_its_place_is_free_again(
    control: RemoteControl, signal: str
) -> None:
    stays, victim = control.hold(CHILDREN)
    before = set(control.ask("stats")["pool"]["processes"])
    control.ask("revoke", task_id=[victim.id], terminate=True, signal=signal)
    victim.was_revoked(begun=1)
    (successor,) = control.hold(1)
    assert len(set(control.ask("stats")["pool"]["processes"]) - before) == 1
    for job in (stays, successor):
        job.go_on()
        job.ran_once()
    assert not control.system.processes[0].lines("job.retrying", job_id=victim.id)


def test_a_job_is_terminated_before_its_child_reported_its_start(control: RemoteControl) -> None:
    children = psutil.Process(control.system.processes[0].popen.pid).children()
    for child in children:
        child.suspend()
    job = control.send("nap", 60)
    control.until(lambda: control.ids("reserved") == {job.id}, "it is not taken")
    control.ask("revoke", task_id=[job.id], terminate=True)
    for child in children:
        child.resume()
    control.until(lambda: job.state == "cancelled", "it is not cancelled")
    for job in control.hold(CHILDREN):
        job.go_on()
        job.ran_once()


def test_what_has_expired_is_dropped_or_runs_when_it_is_replayed(control: RemoteControl) -> None:
    held = control.hold(CHILDREN)
    expired, dropped = (control.send("succeed", expires=0.5, on_expired=each) for each in ("dead", "drop"))
    time.sleep(0.5)  # what it takes to expire
    for job in held:
        job.go_on()
    expired.died("expired")
    control.until(lambda: dropped.state == "expired", "it is not dropped")
    assert not dropped.letters()
    expired.replay()
    expired.ran_once()


def test_consumers_are_cancelled_and_added(control: RemoteControl) -> None:
    control.ask("cancel_consumer", queue="other")
    control.until(lambda: len(control.ask("active_queues")) == 1, "it is not cancelled")
    unheard = [control.send("succeed", queue="other") for _ in range(3)]
    control.send("succeed").ran_once()
    assert control.ready("other") == 3
    control.ask("add_consumer", queue="other")
    for job in unheard:
        job.ran_once()


@pytest.mark.parametrize("queue", ["late", "early"])
def test_a_queue_without_a_declaration_is_consumed_like_others(control: RemoteControl, queue: str) -> None:
    before = [control.send("succeed", queue=queue)] if queue == "late" else []
    control.ask("add_consumer", queue=queue)
    control.until(lambda: len(control.ask("active_queues")) == 3, "it is not added")
    for job in [
        *before,
        control.send("succeed", queue=queue),
        control.send("succeed", queue=queue, countdown=1),
    ]:
        job.ran_once()
    flaky = control.send("flaky", 1, queue=queue)
    control.until(lambda: flaky.state == "succeeded", "it is not retried")
    control.ask("cancel_consumer", queue=queue)
    control.until(lambda: len(control.ask("active_queues")) == 2, "it is not cancelled")


def test_a_rate_limit_is_kept_to_and_lifted(control: RemoteControl) -> None:
    assert "ok" in control.ask("rate_limit", task_name="test.succeed", rate_limit="4/s")
    began = time.monotonic()
    limited = [control.send("succeed") for _ in range(8)]
    control.until(lambda: all(job.begun for job in limited), "they do not run")
    assert time.monotonic() - began > 1.5
    assert "ok" in control.ask("rate_limit", task_name="test.succeed", rate_limit="2/h")
    lifted = [control.send("succeed") for _ in range(6)]
    control.ask("rate_limit", task_name="test.succeed", rate_limit="0")
    for job in [*limited, *lifted]:
        job.ran_once()


def test_the_pool_grows_and_shrinks_and_takes_as_much_as_it_can_run(control: RemoteControl) -> None:
    control.ask("pool_grow", n=3)
    held = control.hold(CHILDREN + 3)
    for job in held:
        job.go_on()
    for job in held:
        job.ran_once()
    control.ask("pool_shrink", n=3)
    control.until(lambda: len(control.ask("stats")["pool"]["processes"]) == CHILDREN, "it does not shrink")
    held = control.hold(CHILDREN)
    waiting = [control.send("succeed") for _ in range(5)]
    control.until(
        lambda: len(control.ids("reserved")) == CHILDREN * (EACH - 1), "it takes too much or too little"
    )
    assert control.ready() == 3
    for job in held:
        job.go_on()
    for job in [*held, *waiting]:
        job.ran_once()


def test_children_are_replaced_after_so_many_jobs(control: RemoteControl) -> None:
    worker = control.system.worker(
        "--concurrency", "2", "--queues", "short", "--max-jobs-per-child", "3", name="short"
    )
    jobs = [control.send("pid", queue="short") for _ in range(24)]
    control.until(lambda: all(job.state == "succeeded" for job in jobs), "they do not succeed")
    events = [job.events for job in jobs]
    assert all(len(each) == 1 for each in events), "each ran once"
    pids = [each[0] for each in events]
    assert max(pids.count(pid) for pid in pids) <= 3
    assert not worker.lines("job.retrying")
    assert worker.stop() == 0
