"""NIGHTSHIFT_HISTORY: which jobs get rows, and that everything else goes on without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

import keepapp
from flask_nightshift import journal
from flask_nightshift.cli import jobs as jobs_command
from flask_nightshift.dead_letters import archive
from flask_nightshift.domain.job import DeadLetter, JobRef, Reason, utcnow
from flask_nightshift.errors import AlreadyInProgress, DatabaseUnavailable
from flask_nightshift.once import markers
from flask_nightshift.once.block import ByItself, Terms
from flask_nightshift.once.deciding import Owner
from flask_nightshift.services import Services, current
from flask_nightshift.store import Store, tables
from system import System, running

PLACES = [
    ("valkey", "sqlite"),
    pytest.param(("rabbitmq", "postgres"), marks=[pytest.mark.postgres, pytest.mark.rabbitmq]),
]


@pytest.fixture(params=PLACES, ids="-".join)
def system(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[System]:
    broker, database_url = request.getfixturevalue(request.param[0]), f"sqlite:///{tmp_path}/history.sqlite3"
    if request.param[1] == "postgres":
        database_url = request.getfixturevalue("postgres").fresh_url()
    more = {"FLASK_APP": "keepapp", "NIGHTSHIFT_DATABASE_URL": database_url}
    with running(tmp_path, broker.fresh_url(), **more) as made:
        for name in ("LEDGER", "INSTANCE"):
            monkeypatch.setenv(name, made.env[name])
        yield made


def app_of(stack: ExitStack, system: System, history: str) -> Flask:
    names = ("NIGHTSHIFT_BROKER_URL", "NIGHTSHIFT_DATABASE_URL")
    app = keepapp.create_app(NIGHTSHIFT_HISTORY=history, **{name: system.env[name] for name in names})
    stack.callback(keepapp.jobs.close, app)
    return app


def counted(services: Services) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in journal.totals(services.store):
        found[str(row.outcome)] = found.get(str(row.outcome), 0) + row.count
    return found


def recorded(services: Services) -> dict[str, str]:
    with services.store.read() as connection:
        return {
            row.id: row.state for row in connection.execute(select(tables.jobs.c.id, tables.jobs.c.state))
        }


def output(app: Flask, *words: str) -> str:
    return app.test_cli_runner().invoke(jobs_command, list(words)).output


def letters(services: Services) -> dict[str, str]:
    columns = tables.dead_letters.c.job_id, tables.dead_letters.c.status
    with services.store.read() as connection:
        return {row.job_id: row.status for row in connection.execute(select(*columns))}


def test_fewer_jobs_are_recorded_and_all_are_counted(system: System) -> None:
    with ExitStack() as stack:
        app = app_of(stack, system, "failures")
        worker = system.worker("--concurrency", "2", NIGHTSHIFT_HISTORY="failures")
        with app.app_context():
            flaky, dead = _with_failures(system, app)
        worker.stop()
        off = app_of(stack, system, "off")
        with off.app_context():
            services = current(off)
            worker = system.worker("--concurrency", "2", name="other", NIGHTSHIFT_HISTORY="off")
            _with_none(system, off)
            assert recorded(services) == {flaky: "succeeded", dead: "dead"}
            worker.stop()
            # a purge releases the lock of a unique job, of which no row tells that it waits
            first = keepapp.alone.delay(1).id
            assert keepapp.alone.delay(1).id == first
            output(off, "purge", "keep", "--yes")
            assert keepapp.alone.delay(1).id != first
            assert recorded(services).keys() == {flaky, dead}


def test_jobs_that_were_recorded_end_after_a_change_to_failures(system: System) -> None:
    with ExitStack() as stack:
        before = app_of(stack, system, "all")
        with before.app_context():
            earlier = [keepapp.login.delay(f"ok-{number}").id for number in range(3)]
            retried, dead = keepapp.login.delay("flaky-1").id, keepapp.login.delay("dead-1").id
            current(before).journal.flush(10)
        after = app_of(stack, system, "failures")
        with after.app_context():
            services = current(after)
            assert set(recorded(services).values()) == {"queued"}
            later = keepapp.login.delay("ok-later").id
            worker = system.worker("--concurrency", "2", NIGHTSHIFT_HISTORY="failures")
            ends = dict.fromkeys([*earlier, retried], "succeeded") | {dead: "dead"}
            system.until(lambda: recorded(services) == ends, 30, f"they do not end: {recorded(services)}")
            assert later not in recorded(services)
            found = journal.find_job(services.store, earlier[0])
            assert found is not None
            assert found.started_at is not None
            assert [(each.number, str(each.outcome)) for each in found.history] == [(1, "succeeded")]
            assert counted(services) == {"succeeded": 5, "retried": 1, "dead": 1}
            worker.stop()


def _with_failures(system: System, app: Flask) -> tuple[str, str]:
    services = current(app)
    ok = keepapp.login.delay("ok-1", profile=7).id
    flaky, dead = keepapp.login.delay("flaky-1", profile=7).id, keepapp.login.delay("dead-1").id
    ended = {"succeeded": 2, "retried": 1, "dead": 1}
    system.until(lambda: counted(services) == ended, 30, "not all are counted")
    system.until(lambda: letters(services) == {dead: "waiting"}, 30, "no dead letter")
    assert recorded(services) == {flaky: "succeeded", dead: "dead"}
    found = journal.find_job(services.store, flaky)
    assert found is not None
    assert (found.args, found.kwargs, found.attempts) == ("('flaky-1',)", "{'profile': 7}", 2)
    assert found.enqueued_at is not None
    assert found.started_at is not None
    assert [(each.number, str(each.outcome)) for each in found.history] == [(1, "retried"), (2, "succeeded")]

    assert "NIGHTSHIFT_HISTORY is 'failures'" in output(app, "show", ok)
    database = json.loads(output(app, "health", "--json"))["parts"]["database"]
    assert "only jobs that were retried, died or were replayed" in database["detail"]
    assert "NIGHTSHIFT_HISTORY" in output(app, "doctor")
    assert "NIGHTSHIFT_HISTORY is 'failures'" in output(app, "list")

    output(app, "dead", "replay", dead)
    system.until(lambda: counted(services)["dead"] == 2, 30, "it was not replayed")
    system.until(lambda: recorded(services)[dead] == "dead", 30, "its second death is not recorded")
    return flaky, dead


def _with_none(system: System, app: Flask) -> None:
    services, before = current(app), counted(current(app))
    keepapp.login.delay("flaky-2")
    dead = keepapp.login.delay("dead-2").id
    keepapp.durable.delay(1)
    keepapp.alone.delay(1)
    keepapp.hook.delay("event-1")
    system.until(lambda: counted(services)["succeeded"] == before["succeeded"] + 4, 30, "not all are counted")
    keepapp.hook.delay("event-1")
    system.until(lambda: counted(services).get("skipped") == 1, 30, "the repeat is not skipped")
    assert system.events("event-1") == ["hooked"]
    system.until(lambda: letters(services).get(dead) == "waiting", 30, "no dead letter")
    with services.store.read() as connection:
        assert connection.execute(select(tables.outbox.c.state)).scalars().all() == ["succeeded"]
    assert "NIGHTSHIFT_HISTORY is 'off'" in output(app, "show", dead)
    assert "NIGHTSHIFT_HISTORY is 'off'" in output(app, "cancel", "--task", "keep.login", "--yes")
    output(app, "dead", "replay", dead)
    system.until(lambda: len(system.events("dead-2")) == 2, 30, "it was not replayed")
    system.until(
        lambda: counted(services)["dead"] == before["dead"] + 2, 30, "its second death is not counted"
    )


@pytest.mark.parametrize(
    ("history", "attempt", "said"),
    [("all", 1, True), ("failures", 1, False), ("failures", 2, True), ("off", 2, False)],
)
def test_progress_makes_no_row_of_a_job_that_may_never_get_one(
    store: Store, history: str, attempt: int, said: bool
) -> None:
    writer = journal.Journal(store, history=history)
    writer.progress(JobRef("j1", "t", "q", attempt)).say(1, 2, "half")
    assert writer.flush(10)
    writer.close()
    assert (journal.find_job(store, "j1") is not None) == said


def terms(store: Store, owner: str, **more: Any) -> Terms:
    hour = timedelta(hours=1)
    return Terms("key", Owner(owner), hour, hour, store, utcnow, lambda exc: exc, **more)


def test_a_marker_is_finished_later_although_no_row_says_how_its_job_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = ByItself(terms(store, "j1", whole=True))
    assert block.__enter__()

    def away(*_: Any) -> bool:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(markers, "finish", away)
        with pytest.raises(DatabaseUnavailable):
            block.__exit__(None, None, None)
    with pytest.raises(AlreadyInProgress):
        ByItself(terms(store, "j2", whole=True)).__enter__()
    assert block.left is not None
    writer = journal.Journal(store, history="off")
    writer.later(block.left)
    assert writer.flush(10)
    writer.close()
    assert not ByItself(terms(store, "j2", whole=True)).__enter__()


def test_a_dead_letter_says_that_the_owner_of_a_marker_is_dead(store: Store) -> None:
    assert ByItself(terms(store, "j1")).__enter__()
    headers = {"id": "j1", "task": "t"}
    letter = DeadLetter("d1", Reason.EXHAUSTED, utcnow(), "q", "j1", "t", None, b"[[],{},{}]", "application/json",
                        "utf-8", headers)  # fmt: skip
    assert archive(store, [letter], worker="w", recorded=False) == 1
    assert journal.find_job(store, "j1") is None
    assert ByItself(terms(store, "j2")).__enter__()
