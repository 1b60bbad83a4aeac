"""The test kit with several queues and priorities: the order of jobs, ``twice()``, and what long queues cost."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.brokers.payload import parse
from flask_nightshift.message.codec import decode
from flask_nightshift.testing import Jobs

jobs = Nightshift()
ran: list[str] = []


@jobs.task(name="order.note")
def note(word: str) -> None:
    ran.append(word)


@jobs.task(name="order.pass_on", queue="mail")
def pass_on(word: str, **options: Any) -> None:
    ran.append(word)
    note.apply_async((f"after {word}",), **options)


@jobs.task(name="order.fragile", queue="mail")
def fragile(word: str, **options: Any) -> None:
    note.apply_async((f"after {word}",), **options)
    if word in ran:
        raise ValueError("done before")
    ran.append(word)


@jobs.task(name="order.careful", queue="mail", idempotency_key=str)
def careful(word: str) -> None:
    ran.append(word)


@jobs.task(name="order.hands_on", queue="mail")
def hands_on(word: str) -> None:
    ran.append(word)
    raise hands_on.replace(note.si(f"in place of {word}"))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    app = Flask("order", instance_path=str(tmp_path_factory.mktemp("order")))
    app.config["NIGHTSHIFT_BROKER_URL"] = "redis://127.0.0.1:1/0"
    jobs.init_app(app)
    return app


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def test_jobs_of_all_queues_run_in_the_order_in_which_they_were_enqueued(nightshift_jobs: Jobs) -> None:
    for word, queue in [("1", "b"), ("2", "a"), ("3", "b"), ("4", "c"), ("5", "a")]:
        note.apply_async((word,), queue=queue)
    note.apply_async(("later",), queue="a", countdown=60)
    note.apply_async(("soon",), queue="b", countdown=30)
    assert [job.args[0] for job in nightshift_jobs.enqueued()] == ["1", "2", "3", "4", "5", "soon", "later"]
    first = nightshift_jobs.run_next()
    assert first is not None
    assert first.args == ["1"]
    nightshift_jobs.travel(seconds=45)
    note.apply_async(("6",), queue="a")
    nightshift_jobs.drain()
    assert ran == ["1", "2", "3", "4", "5", "soon", "6"], "a delayed job gets its place when it is due"


def test_a_priority_comes_before_the_order(nightshift_jobs: Jobs) -> None:
    for word, queue, priority in [
        ("a9", "a", 9),
        ("b3", "b", 3),
        ("a0", "a", 0),
        ("b0", "b", 0),
        ("c3", "c", 3),
    ]:
        note.apply_async((word,), queue=queue, priority=priority)
    assert [job.args[0] for job in nightshift_jobs.enqueued()] == ["a0", "b0", "b3", "c3", "a9"]
    nightshift_jobs.drain()
    assert ran == ["a0", "b0", "b3", "c3", "a9"]


def test_a_job_runs_twice_whatever_queue_its_jobs_go_to(nightshift_jobs: Jobs) -> None:
    pass_on.delay("x", queue="celery")
    runs = nightshift_jobs.twice()
    assert ran == ["x", "x", "after x", "after x", "after x"], "the jobs of a second run run once"
    assert {each.outcome for each in runs} == {"succeeded"}
    assert nightshift_jobs.dead_letters() == []
    assert nightshift_jobs.enqueued() == []


def test_a_job_runs_twice_if_its_job_has_a_higher_priority(nightshift_jobs: Jobs) -> None:
    pass_on.apply_async(("x",), {"queue": "mail", "priority": 0}, priority=6)
    nightshift_jobs.twice()
    assert ran == ["x", "after x", "after x", "x", "after x"], "as the broker delivers them"
    assert nightshift_jobs.dead_letters() == []


@pytest.mark.parametrize("options", [{"queue": "celery"}, {"queue": "mail", "priority": 0}])
def test_a_second_run_that_fails_is_told_of(nightshift_jobs: Jobs, options: dict[str, Any]) -> None:
    fragile.apply_async(("once",), options, priority=6)
    with pytest.raises(AssertionError, match=r"order.fragile\('once', .*\) is not idempotent: .* ValueError"):
        nightshift_jobs.twice()


def test_only_a_job_that_succeeds_runs_twice(nightshift_jobs: Jobs) -> None:
    careful.delay("x")
    careful.delay("x")
    runs = nightshift_jobs.twice()
    assert [each.outcome for each in runs] == ["succeeded", "succeeded", "skipped"]
    assert ran == ["x"]
    assert nightshift_jobs.dead_letters() == []


def test_a_job_that_another_one_replaces_runs_once(nightshift_jobs: Jobs) -> None:
    hands_on.delay("x")
    nightshift_jobs.twice()
    assert ran == ["x", "in place of x", "in place of x"]
    assert nightshift_jobs.dead_letters() == []


@pytest.mark.parametrize("run", ["drain", "twice", "later"])
def test_a_long_queue_is_read_once(nightshift_jobs: Jobs, monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    reads = 0

    def counting(read: Any) -> Any:
        def counted(payload: bytes) -> Any:
            nonlocal reads
            reads += 1
            return read(payload)

        return counted

    jobs_of_this_test = 60
    for number in range(jobs_of_this_test):
        countdown = 60 + number if run == "later" else None
        note.apply_async((str(number),), queue=f"queue{number % 3}", countdown=countdown)
    monkeypatch.setattr("flask_nightshift.testing.jobs.parse", counting(parse))
    monkeypatch.setattr("flask_nightshift.brokers.memory.stored.decode", counting(decode))
    if run == "twice":
        nightshift_jobs.twice()
    else:
        nightshift_jobs.drain(delayed=True)
    assert ran[-1] == str(jobs_of_this_test - 1)
    assert reads <= 5 * jobs_of_this_test
