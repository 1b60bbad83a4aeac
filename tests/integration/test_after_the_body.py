"""A body that returned never runs again, whatever fails afterwards; only its own process reports the job's end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import chord, states

from afterapp import (
    body,
    copies,
    create_app,
    fails,
    fine,
    held,
    hooks,
    jobs,
    slow_value,
    torn_down,
    turned_away,
    unstorable,
)
from servers import RedisServer
from system import System, running


@contextmanager
def working(folder: Path, url: str, *options: str, **settings: str) -> Iterator[System]:
    """A worker, and its app current here."""
    with running(folder, url, FLASK_APP="afterapp", **settings) as made, ExitStack() as stack:
        env = {key: made.env[key] for key in ("INSTANCE", "NIGHTSHIFT_BROKER_URL", *settings)}
        stack.enter_context(create_app(**env).app_context())
        made.worker("--concurrency", "1", *options)
        yield made


def mark() -> str:
    return uuid.uuid4().hex[:12]


def state(job: Any) -> str:
    return str(jobs.job(job.id).state)


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"])
def test_an_error_after_the_body(request: pytest.FixtureRequest, broker: str, tmp_path: Path) -> None:
    with working(
        tmp_path, request.getfixturevalue(broker).fresh_url(), NIGHTSHIFT_DELIVERY_LIMIT="2"
    ) as system:
        away = mark()
        returned = turned_away.delay(away, 3)
        tasks: dict[str, Any] = {"unstorable": unstorable, "torn down": torn_down, "hooks": hooks}
        marks = {how: mark() for how in (*tasks, "chord", "link")}
        sent = {how: task.delay(marks[how]) for how, task in tasks.items()}
        whole = chord([fine.s(mark()), unstorable.s(marks["chord"])])(body.s())
        linked = unstorable.apply_async((marks["link"],), link=fine.s())

        for how, job in sent.items():
            system.until(lambda job=job: state(job) == "succeeded", 30, f"{how}: {state(job)}")
        assert sent["unstorable"].get(timeout=10).startswith("<unstorable result: ")
        assert sent["unstorable"].state == states.SUCCESS
        assert jobs.job(sent["unstorable"].id).result.startswith("<unstorable result: ")
        system.until(whole.ready, 40, "the chord waits for a result that cannot be stored")
        assert whole.state == states.FAILURE
        assert "cannot be stored" in str(whole.result)
        system.until(lambda: state(linked) == "dead", 30, "what follows it was enqueued?")
        assert [x["reason"] for x in system.dead() if x["job_id"] == linked.id] == ["permanent"]
        assert {how: system.events(who) for how, who in marks.items()} == {how: ["done"] for how in marks}

        # asked to be returned, more often than it may be delivered: others went first, and it is no other attempt
        system.until(lambda: state(returned) == "succeeded", 40, "it was not returned")
        assert system.events(away) == [*["begun"] * 4, "done at attempt 1"]
        order = system.ledger.read_text().splitlines()
        assert order.index(f"{marks['unstorable']} done") < order.index(
            f"{away} begun", order.index(f"{away} begun") + 1
        )


def test_a_soft_limit_that_is_reached_after_the_body(valkey: Any, tmp_path: Path) -> None:
    with working(tmp_path, valkey.fresh_url()) as system:
        marker = mark()
        job = slow_value.delay(marker)
        system.until(lambda: state(job) in ("succeeded", "dead"), 60, "it does not end")
        assert state(job) == "succeeded"
        assert system.events(marker) == ["begun"]


def test_results_reach_a_backend_that_was_down_later(
    valkey: Any, started: Callable[..., Any], tmp_path: Path
) -> None:
    backend = started(RedisServer())
    with working(tmp_path, valkey.fresh_url(), NIGHTSHIFT_RESULT_BACKEND=backend.fresh_url()) as system:
        outlives(system, backend.stop, backend.start)


@pytest.mark.postgres
def test_results_reach_a_database_that_was_down_later(
    rabbitmq: Any, started: Callable[..., Any], tmp_path: Path, postgres: Any
) -> None:
    url = postgres.fresh_url()
    with working(tmp_path, rabbitmq.fresh_url(), NIGHTSHIFT_DATABASE_URL=url) as system:
        outlives(system, postgres.freeze, postgres.thaw)
        outlives(system, postgres.stop, postgres.start)


def test_successors_of_a_job_wait_for_the_broker(valkey: Any, tmp_path: Path) -> None:
    with working(tmp_path, valkey.fresh_url()) as system:
        who, worker = mark(), system.processes[-1]
        job = held.apply_async((who,), link=fine.s())
        system.until(lambda: system.events(who) == ["begun"], 20, "it does not begin")
        valkey.freeze()
        Path(f"{system.ledger}.{who}").touch()
        system.until(lambda: worker.lines("job.follow_up_waits"), 20, "it does not wait")
        valkey.thaw()
        system.until(lambda: system.events(f"after-{who}") == ["done"], 30, "what follows it does not run")
        system.until(lambda: state(job) == "succeeded", 20, "it is not done")
        assert system.events(who) == ["begun", "done"]


def outlives(system: System, down: Callable[[], Any], up: Callable[[], Any]) -> None:
    worker = system.processes[-1]
    warm = mark()
    fine.delay(warm).get(timeout=20)
    down()
    marks = [mark() for _ in range(4)]
    good = [fine.delay(who) for who in marks[:3]]
    bad = fails.delay(marks[3])
    system.until(
        lambda: all(worker.lines("job.succeeded", job_id=job.id) for job in good), 30, "they hold their slots"
    )
    system.until(
        lambda: worker.lines("job.dead", job_id=bad.id, error="LookupError"), 20, "the real error is lost"
    )
    up()
    assert [job.get(timeout=60) for job in good] == marks[:3]
    with pytest.raises(LookupError, match="the real error"):
        bad.get(timeout=60)
    assert [system.events(who) for who in marks] == [["done"]] * 3 + [["begun"]]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_forked_copy_of_a_job_s_process_reports_nothing(valkey: Any, pool: str, tmp_path: Path) -> None:
    with working(tmp_path, valkey.fresh_url(), "--pool", pool) as system:
        who, after = mark(), mark()
        job = copies.delay(who)
        assert job.get(timeout=40) == who
        assert fine.delay(after).get(timeout=20) == after
        as_in_celery = "daemonic" if pool == "prefork" else "multiprocessing"
        ends = ["exit 0", "sys.exit 3", "raise 1", "return 0", as_in_celery]
        assert system.events(who) == ["begun", *ends, "done"]
        system.until(lambda: state(job) == "succeeded", 10, "its history is another")
        worker = system.processes[-1]
        assert len(worker.lines("job.started", job_id=job.id)) == 1
        assert not worker.lines("job.retrying")
        assert worker.stop() == 0
