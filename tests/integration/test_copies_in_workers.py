"""Where the broker cannot refuse a second publish from an outbox, a worker drops it as it arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from broker_harness import a_job
from flask_nightshift.brokers import connect
from flask_nightshift.config import settings as config
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.outbox.rows import numbered
from system import Process, System, running

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def system(rabbitmq: Any, tmp_path: Path) -> Any:
    """A factory of systems on RabbitMQ."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(tmp_path, rabbitmq.fresh_url(), **settings))


def publish(
    system: System, markers: list[str], *copies: int, task: str = "test.succeed", more: tuple[Any, ...] = ()
) -> dict[str, str]:
    """Publish jobs as the publishes ``copies`` of an outbox's rows; returns their markers by job id."""
    app = Flask("outbox", instance_path=str(system.folder))
    app.config["NIGHTSHIFT_BROKER_URL"] = system.env["NIGHTSHIFT_BROKER_URL"]
    app.config["NIGHTSHIFT_REDIS_TRANSPORT"] = system.env.get("NIGHTSHIFT_REDIS_TRANSPORT", "lease")
    broker = connect(config.load(app), app)
    jobs = [a_job(task, marker, *more) for marker in markers]
    messages: list[Envelope] = []
    for number in copies:
        messages += [numbered(job, f"row-{job.headers['id']}", number) for job in jobs]
    assert sum(broker.publish_many(messages, "celery", from_outbox=True)) == len(messages)
    broker.close()
    return {job.headers["id"]: marker for job, marker in zip(jobs, markers, strict=True)}


def done(system: System) -> Counter[str]:
    lines = (line.split(" ", 1) for line in system.ledger.read_text().splitlines())
    return Counter(marker for marker, event in lines if event == "done")


def duplicates(*workers: Process) -> list[str]:
    return [
        line["job_id"] for line in chain.from_iterable(worker.lines("job.duplicate") for worker in workers)
    ]


@pytest.mark.parametrize(
    "pool",
    ["prefork", "gevent", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("solo", "threads"))],
)
def test_of_two_publishes_one_runs_and_the_other_is_named(system: Callable[..., System], pool: str) -> None:
    made = system()
    sent = publish(made, [f"job-{number}" for number in range(100)], 1, 2)
    workers = [
        made.worker("--pool", pool, "--concurrency", "1" if pool == "solo" else "2", name=name)
        for name in ("one", "two")
    ]

    made.until(
        lambda: len(done(made)) + len(duplicates(*workers)) == 200, 60, "not every message was settled"
    )

    assert done(made) == Counter(sent.values())
    assert Counter(duplicates(*workers)) == Counter(sent.keys())
    for worker in workers:
        assert worker.stop() == 0
    assert done(made) == Counter(sent.values())


@pytest.mark.redis
def test_kombus_own_redis_transport_needs_the_worker_too(redis_server: Any, tmp_path: Path) -> None:
    with running(tmp_path, redis_server.fresh_url(), NIGHTSHIFT_REDIS_TRANSPORT="kombu") as made:
        sent = publish(made, [f"job-{number}" for number in range(20)], 1, 2)
        worker = made.worker("--concurrency", "2")
        made.until(
            lambda: len(done(made)) + len(duplicates(worker)) == 40, 60, "not every message was settled"
        )
        assert done(made) == Counter(sent.values())
        assert Counter(duplicates(worker)) == Counter(sent.keys())


def test_a_redelivery_and_a_retry_are_no_second_publish(system: Callable[..., System]) -> None:
    made = system()
    worker = made.worker("--concurrency", "2")
    publish(made, ["failed"], 1, task="test.flaky", more=(2,))
    publish(made, ["killed"], 1, more=(3,))
    made.until(lambda: "begun" in made.events("killed"), 20, "the job has not begun")
    worker.kill_tree()
    assert not done(made)["killed"]

    other = made.worker("--concurrency", "1", name="other")
    made.until(lambda: done(made).keys() >= {"killed", "failed"}, 60, "a job did not run again")
    assert not duplicates(worker, other)


@pytest.mark.postgres
def test_without_a_database_jobs_run_unchecked_and_are_checked_when_it_is_back(
    system: Callable[..., System], postgres: Any
) -> None:
    made = system(NIGHTSHIFT_DATABASE_URL=postgres.fresh_url())
    worker = made.worker("--concurrency", "2")
    publish(made, ["before"], 1, 2)
    made.until(lambda: duplicates(worker), 20, "the first duplicate")

    postgres.stop()
    publish(made, [f"away-{number}" for number in range(20)], 1)
    made.until(lambda: sum(done(made).values()) == 21, 30, "jobs wait for the database")
    assert len(worker.lines("copies.unchecked")) == 1

    postgres.ensure()
    made.until(lambda: worker.lines("copies.checked_again"), 40, "the database is back")
    publish(made, ["after"], 1, 2)
    made.until(lambda: len(duplicates(worker)) == 2, 20, "the second duplicate")
    made.until(lambda: done(made)["after"], 20, "the job runs")
    assert done(made)["after"] == 1
