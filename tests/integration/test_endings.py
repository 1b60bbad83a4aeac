"""Each ending of a job reaches its result, its chord, its errbacks and Celery's signals, as with stock Celery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery import chord, states
from kombu import Connection

from endingsapp import body, create_app, deadly, hang, heard, jobs, part, rejected
from system import System, running

FATES: dict[str, tuple[str, list[str], str]] = {
    # what happens -> the state of its result, the signals, what its errback is given
    "rejected": (states.FAILURE, ["task_failure Reject"], "Reject"),
    "hung": (states.FAILURE, ["task_failure TimeLimitExceeded"], "TimeLimitExceeded"),
    "unknown": (states.FAILURE, ["task_unknown"], "NotRegistered"),
    "killed its worker": (states.FAILURE, ["task_failure WorkerLostError"], "WorkerLostError"),
    "expired": (states.REVOKED, ["task_revoked expired=True"], "TaskRevokedError"),
}

OF_CHORDS = {"killed its worker": "deadlier"}


@pytest.fixture(params=["valkey", "rabbitmq"])
def system(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[System]:
    url = request.getfixturevalue(request.param).fresh_url()
    settings = {"NIGHTSHIFT_UNKNOWN_TASK_WAIT": "1", "NIGHTSHIFT_DELIVERY_LIMIT": "1"}
    with running(tmp_path, url, FLASK_APP="endingsapp", **settings) as made, ExitStack() as stack:
        env = {
            key: made.env[key] for key in ("INSTANCE", "NIGHTSHIFT_BROKER_URL", "NIGHTSHIFT_DELIVERY_LIMIT")
        }
        stack.enter_context(create_app(**env).app_context())
        # a new RabbitMQ on a busy machine may need longer for its entities than a publish may take
        made.until(lambda: part.apply_async(queue="made"), 30, "the broker takes no job")
        yield made


def test_every_ending_reaches_results_errbacks_and_signals(system: System) -> None:
    jobs_of = {
        "rejected": rejected.s(),
        "hung": hang.s(),
        "unknown": jobs.celery.signature("endings.unheard_of", queue="celery"),
        "killed its worker": deadly.s(),
        "expired": part.s().set(expires=0.5),
    }
    alone = {fate: job.clone().apply_async(link_error=heard.s()) for fate, job in jobs_of.items()}
    chords = {
        fate: chord([part.s(), job.clone().set(queue=OF_CHORDS.get(fate, "celery"))])(
            body.s().on_error(heard.s())
        )
        for fate, job in jobs_of.items()
    }
    broken = undecodable(system)
    system.worker("--concurrency", "1", "--queues", "celery")
    bury_the_killer(system, "deadly", alone["killed its worker"])
    bury_the_killer(system, "deadlier", chords["killed its worker"])

    for fate, (state, heard_by, errback) in FATES.items():
        job, whole = alone[fate], chords[fate]
        system.until(
            job.ready, 30, f"the result of a job that was {fate} does not come; {system.events(job.id)}"
        )
        assert job.state == state, fate
        system.until(whole.ready, 40, f"the chord of a job that was {fate} waits")
        assert whole.state == states.FAILURE
        assert type(whole.result).__name__ == "ChordError"
        wanted = [*heard_by, f"errback {errback}"]
        system.until(lambda who=job.id, all_=wanted: sorted(system.events(who)) == sorted(all_), 10,
                     f"{fate}: {system.events(job.id)} is not {wanted}")  # fmt: skip
        system.until(
            lambda who=whole.id: system.events(who), 10, f"{fate}: the chord's errback was not called"
        )
        assert system.events(whole.id) == ["errback ChordError"], fate
    system.until(broken.ready, 20, "the result of a message that cannot be read does not come")
    assert system.events(broken.id) == ["task_rejected"]


def undecodable(system: System) -> Any:
    """The result of a message whose headers can be read, and not its body."""
    with Connection(system.env["NIGHTSHIFT_BROKER_URL"]) as connection, connection.Producer() as producer:
        producer.publish(
            b"\xff", exchange="", routing_key="celery", headers={"id": "broken", "task": "endings.part"},
            content_type="application/json", content_encoding="utf-8", serializer=None,
        )  # fmt: skip
    return jobs.celery.AsyncResult("broken")


def bury_the_killer(system: System, queue: str, result: Any) -> None:
    """Start workers for the one job of ``queue`` until it exceeds its delivery limit."""
    for number in range(3):  # on RabbitMQ it kills two: a job that never began must not be buried
        worker = system.worker("--concurrency", "1", "--queues", queue, name=f"{queue}{number}")
        system.until(
            lambda worker=worker: worker.popen.poll() is not None or result.ready(), 30, "it is not buried"
        )
        if result.ready():
            return
