"""The test kit: the fixture ``nightshift_jobs``, with no broker, no worker and no table made by hand."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import pytest
from celery import Task, chain, chord, group, shared_task
from flask import Flask, g, has_app_context

from flask_nightshift import Nightshift, PermanentFailure
from flask_nightshift.services import current
from flask_nightshift.testing import Jobs, in_memory

jobs = Nightshift()
ran: list[Any] = []


@jobs.task(name="kit.send")
def send(user_id: int, greeting: str = "hello") -> None:
    ran.append((user_id, greeting, hasattr(g, "of_the_test")))


@jobs.task(name="kit.flaky", max_retries=2, retry_backoff=60, retry_jitter=False)
def flaky(word: str) -> None:
    ran.append(word)
    raise ConnectionError(word)


@jobs.task(name="kit.hopeless")
def hopeless() -> None:
    raise PermanentFailure("no such user")


@jobs.task(name="kit.parent")
def parent(depth: int) -> None:
    ran.append(depth)
    if depth:
        parent.delay(depth - 1)


@jobs.task(name="kit.fragile")
def fragile(word: str) -> None:
    if word in ran:
        raise ValueError("done before")
    ran.append(word)


@jobs.task(name="kit.careful", idempotency_key=str)
def careful(word: str) -> None:
    ran.append(word)


@jobs.task(name="kit.early", acks_late=False)
def early() -> None:
    ran.append("early")


@jobs.task(name="kit.alone", unique="until_done", on_duplicate="skip")
def alone(word: str) -> None:
    ran.append(word)


@jobs.task(name="kit.add", ignore_result=False)
def add(*numbers: Any) -> int:
    return sum(sum(each) if isinstance(each, list) else each for each in numbers)


class Marking(Task):
    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        ran.append((self.request.mark, self.request.hostname))


@jobs.task(name="kit.marks", base=Marking, bind=True, max_retries=0)
def marks(self: Any) -> None:
    self.request.mark = "by the body"
    raise ValueError(len(self.request_stack))


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """An app of a whole module, whose broker and database do not exist."""
    app = Flask("kit", instance_path=str(tmp_path_factory.mktemp("kit")))
    app.config.update(
        NIGHTSHIFT_BROKER_URL="redis://127.0.0.1:1/0",
        NIGHTSHIFT_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        NIGHTSHIFT_RESULT_BACKEND="redis://127.0.0.1:1/1",
    )
    jobs.init_app(app)
    return app


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def test_what_is_enqueued_and_what_ran(nightshift_jobs: Jobs) -> None:
    before = dt.datetime.now(dt.UTC)
    send.apply_async((2,), countdown=600)
    send.delay(1, greeting="hi")
    send.apply_async(kwargs={"user_id": 3}, queue="typo")

    first, typo, later = nightshift_jobs.enqueued()
    assert (first.task, first.args, first.kwargs, first.queue, first.due) == (
        "kit.send", [1], {"greeting": "hi"}, "celery", None,
    )  # fmt: skip
    assert later.due is not None
    assert 595 < (later.due - before).total_seconds() < 610
    assert [job.args for job in nightshift_jobs.enqueued(queue="celery")] == [[1], [2]]
    assert nightshift_jobs.enqueued("kit.flaky") == []
    assert nightshift_jobs.assert_enqueued(send, count=3) == [first, typo, later]
    assert nightshift_jobs.assert_enqueued("kit.send", [1, "hi"]) == [first]
    assert nightshift_jobs.assert_enqueued(send, [3, "hello"], queue="typo", count=1) == [typo]
    nightshift_jobs.assert_enqueued(flaky, count=0)

    one = nightshift_jobs.run_next()
    assert one is not None
    assert (one.id, one.args, one.outcome, one.attempt, one.error) == (first.id, [1], "succeeded", 1, None)
    assert [each.queue for each in nightshift_jobs.drain()] == ["typo"], "any queue is served"
    assert nightshift_jobs.run_next() is None
    assert nightshift_jobs.enqueued() == [later]
    assert ran == [(1, "hi", False), (3, "hello", False)]
    assert jobs.job(first.id).state == "succeeded"
    assert jobs.job(later.id).state == "queued"


def test_an_assertion_says_what_is_enqueued_instead(nightshift_jobs: Jobs) -> None:
    with pytest.raises(AssertionError) as nothing:
        nightshift_jobs.assert_enqueued(send, args=[1])
    assert str(nothing.value) == "kit.send(1) is not enqueued.\nNothing is enqueued."

    send.delay(5, greeting="hi")
    nightshift_jobs.drain()
    send.delay(2)
    flaky.apply_async(("x",), countdown=60, queue="slow")
    with pytest.raises(AssertionError) as other:
        nightshift_jobs.assert_enqueued(send, args=[1], kwargs={"greeting": "hi"}, queue="slow")
    assert str(other.value).splitlines() == [
        "kit.send(1, greeting='hi') in the queue 'slow' is not enqueued.",
        "Enqueued are:",
        "  kit.send(2) in the queue 'celery'",
        "  kit.flaky('x') in the queue 'slow', due in 0:01:00",
        "Ran already:",
        "  kit.send(5, greeting='hi') succeeded",
    ]
    with pytest.raises(AssertionError, match=r"kit\.send is enqueued once, not twice"):
        nightshift_jobs.assert_enqueued(send, count=2)
    with pytest.raises(AssertionError, match=r"No task has the name 'kit\.sned'\. There are: .*kit\.add"):
        nightshift_jobs.assert_enqueued("kit.sned")
    with pytest.raises(TypeError, match="give a task or its name, not 5"):
        nightshift_jobs.assert_enqueued(5)


@pytest.mark.parametrize(
    ("call", "said"),
    [({"args": 7}, r"args=7: give a list .* such as \[7\]"), ({"args": "ab"}, "args='ab': give a list"),
     ({"kwargs": [1]}, r"kwargs=\[1\]: give a dict")],
)  # fmt: skip
def test_a_call_that_is_none_is_refused(nightshift_jobs: Jobs, call: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        nightshift_jobs.assert_enqueued(send, **call)


def test_arguments_travel_as_in_production(nightshift_jobs: Jobs) -> None:
    at = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    add.delay((1, 2), [at])
    nightshift_jobs.assert_enqueued(add, args=[(1, 2), [at]])
    assert nightshift_jobs.enqueued()[0].args == [[1, 2], [at]]
    with pytest.raises(Exception, match="cannot be sent as json"):
        send.delay(object())  # type: ignore[arg-type]


def test_retries_and_dead_letters(app: Flask, nightshift_jobs: Jobs) -> None:
    flaky.delay("x")
    (first,) = nightshift_jobs.drain()
    assert (first.outcome, first.error, first.attempt) == ("retried", "ConnectionError: x", 1)
    assert isinstance(first.exception, ConnectionError)
    assert first.due == nightshift_jobs.enqueued()[0].due
    assert nightshift_jobs.drain() == [], "a retry waits"

    nightshift_jobs.travel(seconds=30)
    assert nightshift_jobs.drain() == []
    nightshift_jobs.travel(minutes=1)
    assert [each.attempt for each in nightshift_jobs.drain()] == [2]
    assert [each.outcome for each in nightshift_jobs.drain(delayed=True)] == ["dead"]
    hopeless.delay()
    nightshift_jobs.drain()

    one, two = nightshift_jobs.dead_letters()
    assert (one.task, one.args, one.reason, one.attempts) == ("kit.flaky", ["x"], "exhausted", 3)
    assert one.error == "ConnectionError: x"
    assert "raise ConnectionError(word)" in one.traceback
    assert (two.reason, nightshift_jobs.dead_letters(hopeless)) == ("permanent", [two])
    assert [each.outcome for each in nightshift_jobs.ran] == ["retried", "retried", "dead", "dead"]

    said = app.test_cli_runner().invoke(args=["jobs", "dead", "replay", two.letter_id, "--yes"])
    assert said.exit_code == 0, said.output
    nightshift_jobs.assert_enqueued(hopeless)
    assert "kit.hopeless" in app.test_cli_runner().invoke(args=["jobs", "list"]).output


def test_an_error_can_be_raised_into_the_test(app: Flask, nightshift_jobs: Jobs) -> None:
    flaky.delay("x")
    with pytest.raises(ConnectionError, match="x"):
        nightshift_jobs.drain(raise_errors=True)
    assert len(nightshift_jobs.enqueued()) == 1, "its job is settled as ever"

    celery = current(app).celery
    celery.conf.task_eager_propagates = True
    try:
        hopeless.delay()
        with pytest.raises(PermanentFailure):
            nightshift_jobs.run_next()
        hopeless.delay()
        assert [each.outcome for each in nightshift_jobs.drain(raise_errors=False)] == ["dead"]
        with pytest.raises(ConnectionError):
            flaky.apply(("eager",))
        celery.conf.task_always_eager = True
        with pytest.raises(PermanentFailure):
            hopeless.delay()
    finally:
        celery.conf.task_eager_propagates = celery.conf.task_always_eager = False


def test_what_ends_the_test_is_raised(app: Flask, nightshift_jobs: Jobs) -> None:
    @jobs.task(name="kit.interrupted")
    def interrupted() -> None:
        raise KeyboardInterrupt

    interrupted.delay()
    with pytest.raises(KeyboardInterrupt):
        nightshift_jobs.drain()


def test_hooks_have_the_request_of_the_body(nightshift_jobs: Jobs) -> None:
    call = Task.__call__
    marks.delay()
    (died,) = nightshift_jobs.drain()
    assert ran == [("by the body", "tests@localhost")]
    assert died.error == "ValueError: 1"
    assert Task.__call__ is call, "what a worker changes in Celery is put back"


def test_a_task_may_be_declared_after_the_first_job(nightshift_jobs: Jobs) -> None:
    send.delay(1)
    nightshift_jobs.drain()

    @jobs.task(name="kit.late")
    def late() -> None:
        ran.append("late")

    late.delay()
    assert [each.outcome for each in nightshift_jobs.drain()] == ["succeeded"]
    assert ran[-1] == "late"


def test_a_body_runs_outside_of_the_tests_context(app: Flask, nightshift_jobs: Jobs) -> None:
    with app.app_context():
        g.of_the_test = True
        send.delay(1)
        nightshift_jobs.drain()
        assert has_app_context()
        assert g.of_the_test
    assert ran == [(1, "hello", False)], "a worker does not have the context of whoever enqueued the job"


def test_time(tmp_path: Path) -> None:
    app = Flask("scheduled", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_SCHEDULE"] = {
        "hourly": {"task": "kit.send", "schedule": "0 * * * *", "args": [99]},
        "often": {"task": "kit.send", "schedule": 600, "kwargs": {"user_id": 7}, "queue": "slow"},
    }
    jobs.init_app(app)
    with in_memory(app) as scheduled:
        send.apply_async((1,), countdown=3600)
        scheduled.travel(dt.timedelta(minutes=35))
        assert [job.kwargs for job in scheduled.enqueued(queue="slow")] == [{"user_id": 7}] * 3
        scheduled.travel(hours=2)
        due = scheduled.drain()
        assert sorted(each.args[0] for each in due if each.args) in ([1, 99, 99], [1, 99, 99, 99])
        assert len([each for each in due if each.queue == "slow"]) == 15
        with pytest.raises(ValueError, match="forward only"):
            scheduled.travel(seconds=-1)
        with pytest.raises(AssertionError, match="'often' has more than 10,000 ticks"):
            scheduled.travel(weeks=52)


def test_twice(nightshift_jobs: Jobs) -> None:
    send.delay(1)
    careful.delay("careful")
    early.delay()
    parent.delay(2)
    runs = nightshift_jobs.twice()
    assert [each.outcome for each in runs] == ["succeeded"] * len(runs)
    assert ran == [(1, "hello", False), (1, "hello", False), "careful", "early", 2, 2, 1, 1, 1, 0, 0, 0, 0]

    fragile.delay("once")
    with pytest.raises(AssertionError) as told:
        nightshift_jobs.twice()
    assert str(told.value) == (
        "kit.fragile('once') is not idempotent: its first run succeeded, and its second run retried: "
        "ValueError: done before"
    )
    assert isinstance(told.value.__cause__, ValueError)


def test_unique_jobs_canvas_and_results(nightshift_jobs: Jobs) -> None:
    @shared_task(name="kit.shared")
    def shared(word: str) -> None:
        ran.append(word)

    one, same = alone.delay("a"), alone.delay("a")
    assert one.id == same.id
    assert len(nightshift_jobs.drain()) == 1
    assert alone.delay("a").id != one.id, "the lock is released"

    total = chord(group(add.s(1), add.s(2), add.s(3)), add.s()).delay()
    last = chain(add.s(1), add.s(2), send.si(4)).delay()
    shared.delay("from a library")
    assert "succeeded" in {each.outcome for each in nightshift_jobs.drain()}
    assert total.get(timeout=1) == 6
    assert last.id in {each.id for each in nightshift_jobs.ran}
    assert nightshift_jobs.enqueued() == []
    assert "from a library" in ran


def test_operators_commands_and_expiry(app: Flask, nightshift_jobs: Jobs) -> None:
    def run(*args: str) -> str:
        said = app.test_cli_runner().invoke(args=["jobs", *args])
        assert said.exit_code == 0, said.output
        return said.output

    with app.app_context():
        send.delay(0)
        nightshift_jobs.drain()  # from now on there is a worker, which hears of commands
        cancelled = send.delay(1)
        run("cancel", cancelled.id)
        run("pause", "celery")
        send.delay(2)
        assert nightshift_jobs.drain() == []
        assert [job.args for job in nightshift_jobs.enqueued()] == [[2]], "only jobs are listed"
        run("resume", "celery")
        send.apply_async((3,), expires=600)
        send.apply_async((4,), expires=6000)
        nightshift_jobs.travel(minutes=30)
        ends = {each.args[0]: each.outcome for each in nightshift_jobs.drain()}
    assert ends == {2: "succeeded", 3: "expired", 4: "succeeded"}
    assert jobs.job(cancelled.id).state == "cancelled"


def test_mistakes_of_a_test_are_named(nightshift_jobs: Jobs, app: Flask) -> None:
    current(app).celery.send_task("kit.elsewhere", [1])
    with pytest.raises(AssertionError, match=r"kit.elsewhere\(1\) .*: no task has this name"):
        nightshift_jobs.drain()

    @jobs.task(name="kit.endless")
    def endless() -> None:
        endless.delay()

    with in_memory(app) as inner:
        endless.delay()
        with pytest.raises(AssertionError, match=r"drain\(\) made 20 attempts. Does a task enqueue itself?"):
            inner.drain(most=20)
    assert len(nightshift_jobs.enqueued()) == 1, "the outer one is as before"


def test_the_app_is_as_before(app: Flask, tmp_path: Path) -> None:
    services, celery = current(app), current(app).celery
    _ = celery.amqp
    before = dict(vars(services)), {name: vars(celery).get(name) for name in ("amqp", "_pool", "_local")}
    url, threads = celery.conf.broker_url, set(threading.enumerate())
    with in_memory(app) as inner:
        add.apply_async((1,), queue="elsewhere")
        inner.drain()
        inner.dead_letters()
        assert services is current(app)
        assert services.broker.url.startswith("memory://")
        assert set(threading.enumerate()) == threads, "it starts none"
        jobs.migrate()
    after = dict(vars(services)), {name: vars(celery).get(name) for name in ("amqp", "_pool", "_local")}
    assert after == before
    assert celery.conf.broker_url == url
    assert "elsewhere" not in celery.amqp.queues


def test_migrate(tmp_path: Path) -> None:
    app = Flask("migrates", instance_path=str(tmp_path))
    other = Nightshift(app)
    assert len(other.migrate()) > 5
    assert other.migrate(app) == []
    other.close()
