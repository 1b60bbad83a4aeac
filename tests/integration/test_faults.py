"""A part fails and comes back, on every broker: nothing hangs, and no job is lost."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

from system import System


def marker() -> str:
    return uuid.uuid4().hex[:12]


def answer(system: System, who: str) -> tuple[int, float, Any]:
    """Enqueue through the web app: status, seconds, response."""
    assert system.http is not None
    began = time.monotonic()
    response = system.http.post("/enqueue/test.succeed", json={"args": [who]})
    return response.status_code, time.monotonic() - began, response


def ready(system: System) -> tuple[int, dict[str, Any]]:
    assert system.http is not None
    response = system.http.get("/health/ready")
    return response.status_code, response.json()


def test_a_broker_that_is_down_fails_fast_and_all_go_on_when_it_is_back(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.web()
    system.worker("--concurrency", "2")
    system.until_state(system.enqueue("test.succeed", marker()), "succeeded")

    broker.stop()
    status, seconds, response = answer(system, marker())
    assert status == 503
    assert seconds < 3.5
    assert int(response.headers["Retry-After"]) > 0
    code, report = ready(system)
    assert code == 503
    assert report["parts"]["broker"]["status"] == "fail"

    broker.start()
    system.until(lambda: answer(system, marker())[0] == 202, 20, "the web app does not recover")
    who = marker()
    job_id = system.enqueue("test.succeed", who)
    system.until_state(job_id, "succeeded", 40)
    system.until(lambda: ready(system)[1]["parts"]["broker"]["status"] == "ok", 15, "health does not recover")


def test_a_frozen_broker_hangs_no_process(broker: Any, new_system: Callable[..., System]) -> None:
    system = new_system()
    system.web()
    system.until(lambda: answer(system, marker())[0] == 202, 10, "the web app does not enqueue")
    broker.freeze()
    try:
        for _ in range(2):
            status, seconds, _response = answer(system, marker())
            assert status == 503
            assert seconds < 3.5
        began = time.monotonic()
        code, report = ready(system)
        assert code == 503
        assert time.monotonic() - began < 4
        assert report["parts"]["broker"]["status"] == "fail"
    finally:
        broker.thaw()
    system.until(lambda: answer(system, marker())[0] == 202, 20, "the web app does not recover")


def test_a_retry_that_cannot_be_written_is_not_lost(broker: Any, new_system: Callable[..., System]) -> None:
    """The broker is away at the moment when the attempt ends (invariant 1)."""
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "1")
    who = marker()
    job_id = system.enqueue("test.hang_softly", who)  # fails after a second, is retried once, then dies
    system.until(lambda: "begun" in system.events(who), 15, "it does not begin")
    broker.freeze()
    system.until(lambda: worker.lines("job.unsettled", job_id=job_id), 20, "the worker did not notice")
    broker.thaw()
    system.until(lambda: job_id in system.archived(), 60, "the job is lost")
    assert next(d for d in system.dead() if d["job_id"] == job_id)["reason"] == "exhausted"


def test_jobs_run_retry_and_die_without_the_database(
    broker: Any, postgres: Any, new_system: Callable[..., System]
) -> None:
    """Invariant 7, and the dead letters are archived when the database is back."""
    system = new_system(NIGHTSHIFT_DATABASE_URL=postgres.fresh_url())
    system.web()
    system.worker("--concurrency", "2")
    system.until_state(system.enqueue("test.succeed", marker()), "succeeded")

    postgres.stop()
    fine, flaky, doomed = marker(), marker(), marker()
    system.enqueue("test.succeed", fine)
    system.enqueue("test.flaky", flaky, 2)
    doomed_id = system.enqueue("test.permanent", doomed)
    system.until(lambda: "done" in system.events(fine), 20, "jobs do not run without the database")
    system.until(lambda: "done" in system.events(flaky), 20, "jobs are not retried without the database")
    system.until(lambda: system.events(doomed) == ["begun"], 20, "the doomed job does not run")
    code, report = ready(system)
    assert code == 503
    assert report["parts"]["database"]["status"] == "fail"
    assert report["parts"]["broker"]["status"] == "ok"

    postgres.start()
    system.until(lambda: doomed_id in system.archived(), 60, "it is not archived")
    system.until_state(doomed_id, "dead", 30)
    system.until(
        lambda: ready(system)[1]["parts"]["workers"]["status"] == "ok", 20, "health does not recover"
    )


def test_a_worker_that_is_stuck_or_gone_turns_unhealthy(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "1")
    system.until(lambda: ready(system)[1]["parts"]["workers"]["status"] == "ok", 15, "no worker is seen")
    assert system.cli("health", "--part", "workers").returncode == 0

    worker.signal(signal.SIGSTOP)
    system.until(lambda: ready(system)[1]["parts"]["workers"]["status"] == "fail", 25, "nobody noticed")
    assert system.cli("health", "--part", "workers", ok=False).returncode == 1
    worker.signal(signal.SIGCONT)
    system.until(lambda: ready(system)[1]["parts"]["workers"]["status"] == "ok", 20, "it did not come back")


def test_sigterm_lets_short_jobs_finish_and_gives_long_ones_back(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(NIGHTSHIFT_STOP_GRACE="3")
    system.web()
    worker = system.worker("--concurrency", "2")
    short, long = marker(), marker()
    system.enqueue("test.succeed", short, 2)
    long_id = system.enqueue("test.succeed", long, 15)
    system.until(lambda: "begun" in system.events(short) and "begun" in system.events(long), 15, "not begun")
    began = time.monotonic()
    assert worker.stop(20) == 0
    assert time.monotonic() - began < 10
    assert "done" in system.events(short)
    assert "done" not in system.events(long)
    assert worker.lines("job.returned", job_id=long_id)

    system.worker("--concurrency", "2", name="successor")
    system.until(lambda: system.events(long).count("begun") == 2, 15, "it did not come back at once")
    system.until_state(long_id, "succeeded", 40)
    assert system.events(short).count("begun") == 1


def test_jobs_of_a_killed_worker_run_again(broker: Any, new_system: Callable[..., System]) -> None:
    system = new_system()
    system.web()
    victim = system.worker("--concurrency", "2", name="victim")
    who = marker()
    job_id = system.enqueue("test.succeed", who, 15)
    system.until(lambda: "begun" in system.events(who), 15, "it does not begin")
    system.worker("--concurrency", "2", name="successor")
    victim.kill_tree()
    began = time.monotonic()
    system.until(lambda: system.events(who).count("begun") == 2, 30, "it does not run again")
    assert time.monotonic() - began < 20
    system.until_state(job_id, "succeeded", 60)


def test_the_schedule_fires_and_survives_a_restart_of_beat(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.web()
    system.worker("--concurrency", "1")
    beat = system.beat()
    system.until(lambda: len(system.events("tick")) >= 3, 20, "the schedule does not fire")
    system.until(lambda: ready(system)[1]["parts"]["beat"]["status"] == "ok", 15, "beat is not seen")
    assert beat.stop(10) == 0
    before = len(system.events("tick"))
    system.beat()
    system.until(lambda: len(system.events("tick")) >= before + 2, 20, "it does not go on")


def test_metrics_are_the_clusters_and_survive_restarts(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "2", name="first")
    for _ in range(5):
        system.until_state(system.enqueue("test.succeed", marker()), "succeeded")
    system.enqueue("test.permanent", marker())
    system.until(system.archived, 20, "no dead letter")
    assert worker.stop() == 0
    system.worker("--concurrency", "2", name="second")
    for _ in range(4):
        system.until_state(system.enqueue("test.succeed", marker()), "succeeded")

    def sample(name: str) -> float | None:
        assert system.http is not None
        text = system.http.get("/metrics").text
        return next(
            (float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)), None
        )

    succeeded = 'nightshift_jobs_total{outcome="succeeded",queue="celery",task="test.succeed"}'
    system.until(lambda: sample(succeeded) == 9, 10, "the totals are wrong")
    system.until(lambda: sample("nightshift_dead_letters") == 1, 10, "the dead letters are wrong")
    system.until(lambda: sample("nightshift_workers") == 1, 20, "the workers are wrong")
    assert sample('nightshift_queue_depth{queue="celery"}') == 0
