"""Unique jobs: one lock for each key, from the publish to the end of the job, on every broker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import chain
from celery.contrib.testing.worker import start_worker
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

import uniqueapp
from broker_harness import Harness, a_job
from flask_nightshift import Nightshift
from flask_nightshift.enqueue.unique import UniqueKeyError
from flask_nightshift.errors import BrokerUnavailable, ConfigurationError, DuplicateJob
from flask_nightshift.operations import delayed
from flask_nightshift.operations.dead_letters import Filters, count, replay
from flask_nightshift.operations.queues import purge
from flask_nightshift.outbox import writing
from flask_nightshift.outbox.rows import Row, row_of
from flask_nightshift.services import Services, current
from flask_nightshift.store import tables
from flask_nightshift.worker.outcome import SettledRequest
from servers import wait_for
from uniqueapp import BEGUN, GATES, RAN, again, done, keyed, newest, plain, started


@pytest.fixture
def services(harness: Harness, tmp_path: Path) -> Iterator[Services]:
    config = {key: value for key, value in harness.app.config.items() if key.startswith("NIGHTSHIFT_")}
    app: Flask = uniqueapp.create_app(
        harness.app.instance_path,
        NIGHTSHIFT_DATABASE_URL=f"sqlite:///{tmp_path}/history.sqlite3",
        NIGHTSHIFT_DEFAULT_QUEUE=harness.queue,
        **config,
    )
    for each in (RAN, GATES, BEGUN):
        each.clear()
    with app.app_context():
        current().store.migrate()
        yield current()
        for gate in list(GATES.values()):
            gate.set()
        current().close()


@contextmanager
def working(services: Services) -> Iterator[None]:
    with start_worker(services.celery, 2, "threads", perform_ping_check=False):
        yield


def keys(services: Services) -> list[str]:
    return [lock.key for lock in services.locks.held(100)]


def state(services: Services, job_id: str) -> str:
    services.journal.flush()
    return str(uniqueapp.jobs.job(job_id).state)


def test_a_duplicate_is_the_job_that_holds_the_lock(services: Services) -> None:
    first, second, other = done.delay("a"), done.delay("a"), done.delay("b")
    by_name = done.apply_async(kwargs={"what": "a", "more": 0})
    assert first.id == second.id == by_name.id != other.id
    assert len(keys(services)) == 2
    with working(services):
        wait_for(lambda: not keys(services), 15, "the locks are not released")
    assert sorted(RAN) == sorted([(first.id, "a"), (other.id, "b")])
    assert done.delay("a").id != first.id


def test_a_lock_until_done_stays_through_a_retry(services: Services) -> None:
    job = done.delay("fail")
    with working(services):
        wait_for(lambda: state(services, job.id) == "retrying", 15, "it does not wait for its retry")
        assert done.delay("fail").id == job.id
        wait_for(lambda: not keys(services), 20, "the lock is not released")
    assert [(job.id, "fail")] * 2 == RAN


def test_a_lock_until_started_ends_when_the_attempt_begins(services: Services) -> None:
    job = started.delay("wait")
    assert started.delay("wait").id == job.id
    with working(services):
        assert BEGUN["wait"].wait(15)
        following = started.delay("wait")
        assert following.id != job.id
        GATES["wait"].set()
        wait_for(lambda: len(RAN) == 2, 15, "both have run")
    assert [ran for ran, _ in RAN] == [job.id, following.id]


def test_a_dead_job_releases_its_lock(services: Services) -> None:
    job = done.delay("die")
    with working(services):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
        wait_for(lambda: state(services, job.id) == "dead", 15, "it is not dead")
        assert done.delay("die").id != job.id


def test_raise_names_the_holder(services: Services) -> None:
    first = keyed.delay("x", {"id": 7})
    with pytest.raises(DuplicateJob, match=f"keyed is unique, and the job {first.id}") as caught:
        keyed.delay("y", user={"id": 7})
    assert (caught.value.job_id, caught.value.key) == (first.id, "keyed:7")
    assert keyed.delay("y", {"id": 8}).id != first.id
    assert keyed.apply_async(("z", {"id": 7}), on_duplicate="skip").id == first.id


def test_the_newest_call_replaces_one_that_has_not_started(services: Services) -> None:
    old, new = newest.delay("old"), newest.delay("new")
    assert old.id != new.id
    (lock,) = services.locks.held(10)
    assert (lock.key, lock.job_id) == ("newest:one", new.id)
    with working(services):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
        wait_for(lambda: state(services, old.id) == "skipped", 15, "the old one is not recorded")
    assert [(new.id, "new")] == RAN
    assert uniqueapp.jobs.job(old.id).error == {"error": "skipped", "message": f"replaced by {new.id}"}


def test_a_replaced_job_does_not_begin_although_the_newer_one_has_died(services: Services) -> None:
    old, new = newest.apply_async(("old",), countdown=4), newest.delay("die")
    with working(services):
        wait_for(lambda: count(services, Filters()) == 1, 20, "the newer one is not dead")
        wait_for(lambda: state(services, old.id) == "skipped", 20, "the old one is not recorded")
    assert [(new.id, "die")] == RAN


def test_nobody_replaces_a_job_that_has_started(services: Services) -> None:
    old = newest.delay("wait")
    with working(services):
        assert BEGUN["wait"].wait(15)
        assert newest.delay("new").id == old.id
        GATES["wait"].set()
        wait_for(lambda: not keys(services), 15, "the lock is not released")
    assert [(old.id, "wait")] == RAN


def test_many_jobs_in_one_call(services: Services) -> None:
    first = done.delay("b")
    ids = done.enqueue_many([("a",), ("b",), ("c",), ("a",)])
    assert ids[1] == first.id
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3
    with pytest.raises(DuplicateJob) as caught:
        done.enqueue_many([("c",), ("d",)], on_duplicate="raise")
    assert caught.value.job_id == ids[2]
    assert len(caught.value.enqueued) == 1
    with working(services):
        wait_for(lambda: not keys(services), 15, "the locks are not released")
    assert sorted(what for _, what in RAN) == ["a", "b", "c", "d"]


def test_many_more_than_one_script_takes(services: Services) -> None:
    ids = done.enqueue_many([(f"n{number % 400}",) for number in range(800)])
    assert ids[:400] == ids[400:]
    assert len(set(ids)) == 400
    every = services.locks.held(1000)
    assert len(every) == 400
    paged, after = [], ""
    while page := services.locks.held(150, after):
        paged += page
        after = page[-1].key
    assert [lock.key for lock in paged] == [lock.key for lock in every]


def test_a_call_of_ones_own(services: Services) -> None:
    first = plain.apply_async(("a",), unique="until_done", unique_key="mine", unique_for=60)
    assert plain.apply_async(("b",), unique="until_done", unique_key="mine").id == first.id
    assert plain.delay("a").id != first.id
    (lock,) = services.locks.held(10)
    assert lock.key == "plain:mine"
    assert 55 < (lock.expires_at - lock.taken_at).total_seconds() < 65
    assert done.apply_async(("z",), unique=False).id != done.apply_async(("z",), unique=False).id


def test_celerys_producer(services: Services) -> None:
    first = services.celery.send_task("done", ("a",))
    assert done.delay("a").id == first.id
    assert services.celery.send_task("done", ("a",)).id == first.id
    with pytest.raises(DuplicateJob):
        done.apply_async(("a",), delivery_mode=2, on_duplicate="raise")
    with working(services):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
    assert [(first.id, "a")] == RAN


def test_canvas_and_a_link(services: Services) -> None:
    first = done.delay("a")
    with pytest.raises(DuplicateJob):  # the link would be lost
        done.apply_async(("a",), link=plain.si("b"))
    with pytest.raises(DuplicateJob):
        chain(done.si("a"), plain.si("b")).delay()
    assert chain(plain.si("b"), done.si("a")).delay().id != first.id
    with working(services):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
        wait_for(lambda: "b" in [what for _, what in RAN], 15, "the chain has not begun")


@pytest.mark.parametrize("what", ["first", "by Celery's producer"])
def test_a_job_that_replaces_itself_keeps_its_lock(
    services: Services, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    settled = threading.Event()
    done_with = SettledRequest._done

    def noted(request: Any, *args: Any) -> None:
        done_with(request, *args)
        settled.set()

    monkeypatch.setattr(SettledRequest, "_done", noted)
    job = again.apply_async((what,), **({"delivery_mode": 2} if what != "first" else {}))
    with working(services):
        assert BEGUN["wait"].wait(15)
        assert settled.wait(15)
        plain.delay("after it")  # what is acknowledged before it begins, the broker knows
        assert BEGUN["after it"].wait(15)
        assert keys(services) == ["again:one"]
        assert again.delay("other").id == job.id
        GATES["wait"].set()
        wait_for(lambda: not keys(services), 15, "the lock is not released")
    assert [(job.id, what), (job.id, "wait")] == [ran for ran in RAN if ran[1] != "after it"]


def test_a_replay_claims_anew_or_is_refused(services: Services) -> None:
    dead = done.delay("die")
    with working(services):
        wait_for(lambda: count(services, Filters()) == 1, 20, "there is no dead letter")
    other = done.delay("die")
    result = replay(services, Filters())
    assert result.ids == ()
    assert list(result.skipped.values()) == [f"it is unique, and the job {other.id} holds its lock"]
    assert count(services, Filters()) == 1
    services.locks.release(keys(services)[0])
    assert len(replay(services, Filters()).ids) == 1
    assert done.delay("die").id == dead.id


def test_a_job_that_expires_releases_its_lock(services: Services) -> None:
    job = done.apply_async(("a",), expires=0.001)
    with working(services):
        wait_for(lambda: not keys(services), 20, "the lock is not released")
    assert RAN == []
    assert done.delay("a").id != job.id


def test_a_purge_releases_the_locks(services: Services, harness: Harness) -> None:
    for number in range(3):
        done.delay(number)
    if harness.can.lists_delayed:
        done.apply_async(("later",), countdown=600)
    services.journal.flush()
    assert purge(services, harness.queue) >= 3
    assert keys(services) == []


def test_a_purge_releases_the_lock_of_a_job_that_waits_for_its_second_attempt(
    services: Services, harness: Harness
) -> None:
    job = done.delay("fail")
    with working(services):
        wait_for(lambda: state(services, job.id) == "retrying", 15, "it does not wait for its retry")

    def ready() -> bool:
        return bool(services.broker.depths([harness.queue])[0].ready)

    if not harness.can.lists_delayed:  # there, a purge deletes what is due
        wait_for(ready, 15, "its retry is not due")
    assert purge(services, harness.queue) == 1
    assert keys(services) == []
    assert done.delay("fail").id != job.id
    assert [(job.id, "fail")] == RAN


def test_a_cancelled_job_releases_its_lock(services: Services, harness: Harness) -> None:
    if not harness.can.lists_delayed:
        pytest.skip("the broker does not show delayed jobs")
    job = done.apply_async(("later",), countdown=600)
    (lock,) = services.locks.held(10)
    assert (lock.expires_at - lock.taken_at).total_seconds() > 86_400 + 590
    assert delayed.cancel(services, harness.queue, [job.id], by="me")
    assert keys(services) == []


def test_a_broker_that_is_away(services: Services, harness: Harness) -> None:
    """Where the broker holds the locks, no lock is left; elsewhere the job waits in the outbox."""
    harness.server.stop()
    if harness.can.holds_locks:
        with pytest.raises(BrokerUnavailable):
            done.delay("a")
        harness.server.ensure()
        assert keys(services) == []
        return
    first = done.delay("a")
    assert done.delay("a").id == first.id
    with services.store.read() as connection:
        assert [row.job_id for row in connection.execute(select(tables.outbox))] == [first.id]
    harness.server.ensure()


def test_a_duplicate_that_a_commit_finds_is_recorded(services: Services) -> None:
    with Session(services.store.engine) as session:
        first = done.apply_async_on_commit(("a",), session=session)
        second = done.apply_async_on_commit(("a",), session=session, ignore_result=False)
        assert keys(services) == []  # nothing is claimed in the caller's transaction
        session.commit()
    assert first.id != second.id
    wait_for(lambda: state(services, second.id) == "skipped", 15, "the duplicate is not recorded")
    wait_for(lambda: second.state == "REVOKED", 15, "who waits for its result waits for ever")
    assert f"duplicate of {first.id}" in str(second.result)
    assert [lock.job_id for lock in services.locks.held(10)] == [first.id]
    with working(services):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
    assert [(first.id, "a")] == RAN
    with services.store.read() as connection:
        assert connection.execute(select(tables.outbox)).all() == []


def test_a_relay_claims_and_records_duplicates(services: Services, harness: Harness) -> None:
    past = {"enqueued_at": "2026-01-01T00:00:00+00:00", "queue": harness.queue}
    lock = {"key": "done:k", "until": "done", "for": 60, "on_duplicate": "skip"}
    first, second = (a_job("done", "a", nightshift={**past, "unique": lock}) for _ in range(2))
    rows = [row_of(each, task="done", queue=harness.queue, due=None) for each in (first, second)]
    with services.store.begin() as connection:
        writing.write(connection, rows)
    (relay,) = services.relays("test")
    harness.server.stop()
    with pytest.raises(BrokerUnavailable):
        relay.publish(rows)
    harness.server.ensure()
    with services.store.read() as connection:
        assert len(connection.execute(select(tables.outbox)).all()) == 2
    wait_for(harness.accepts, 20, "the broker is not back")
    relay.publish(rows)
    with services.store.read() as connection:
        assert connection.execute(select(tables.outbox)).all() == []
    assert [lock.job_id for lock in services.locks.held(10)] == [first.headers["id"]]
    assert state(services, second.headers["id"]) == "skipped"
    result = services.celery.AsyncResult(second.headers["id"])
    wait_for(lambda: result.state == "REVOKED", 15, "who waits for its result waits for ever")
    with working(services):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
    assert [ran for ran, _ in RAN] == [first.headers["id"]]


def test_a_second_publish_of_a_job_that_has_ended_takes_no_lock(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    """Its row stayed, because the process died before it was deleted."""
    with Session(services.store.engine) as session:
        job = done.apply_async_on_commit(("a",), session=session)
        rows = [Row(*row)._replace(copy=2) for row in session.execute(select(tables.outbox))]
        session.commit()
    (relay,) = services.relays("test")
    with working(services), caplog.at_level("WARNING", "flask_nightshift.jobs"):
        wait_for(lambda: not keys(services), 15, "the lock is not released")
        relay.publish(rows)
        wait_for(lambda: "job.duplicate" in caplog.text, 15, "the second publish is not recognised")
        assert keys(services) == []
    assert [(job.id, "a")] == RAN
    assert state(services, job.id) == "succeeded"


def test_two_jobs_with_the_same_id_are_no_two_publishes_of_one(services: Services) -> None:
    for what in ("first", "second"):
        with Session(services.store.engine) as session:
            plain.apply_async_on_commit((what,), session=session, task_id="mine")
            session.commit()
    with working(services):
        wait_for(lambda: len(RAN) == 2, 15, "a job is lost")
    assert sorted(RAN) == [("mine", "first"), ("mine", "second")]


def test_nothing_stays_in_the_outbox(services: Services) -> None:
    done.enqueue_many([(number,) for number in range(250)])
    with services.store.read() as connection:
        assert connection.execute(select(tables.outbox)).all() == []


def test_wrong_options() -> None:
    def declare(**options: Any) -> None:
        Nightshift().task(lambda what: None, name="wrong", **options)

    wrong: list[tuple[dict[str, Any], str]] = [
        ({"unique": "untill_done"}, "give 'until_started' or 'until_done'"),
        ({"unique_key": str}, "the task has no lock"),
        ({"unique": "until_done", "unique_for": -1}, "give seconds, above 0"),
        ({"unique": "until_done", "on_duplicate": "ignore"}, "give 'skip', 'raise' or 'replace'"),
        ({"unique": "until_done", "acks_late": False}, "a crash would leave the lock"),
        ({"uniqe": "until_done"}, "did you mean 'unique'"),
    ]
    for options, said in wrong:
        with pytest.raises(ConfigurationError, match=said):
            declare(**options)


def test_a_key_that_cannot_be_made_names_the_call(services: Services) -> None:
    with pytest.raises(
        UniqueKeyError, match=r"keyed with the arguments \('x', \{'no': 1\}\) .*KeyError: 'id'"
    ):
        keyed.delay("x", {"no": 1})
    with pytest.raises(ValueError, match="the job has no lock"):
        plain.apply_async(("a",), unique_for=3)
    assert keys(services) == []


def test_an_operator_releases_a_lock(services: Services) -> None:
    first = done.delay("a")
    (key,) = keys(services)
    released = services.locks.release(key)
    assert released is not None
    assert released.job_id == first.id
    assert services.locks.release(key) is None
    second = done.delay("a")
    assert second.id != first.id
    with working(services):
        wait_for(lambda: len(RAN) == 2 and not keys(services), 15, "the lock is not released")
    assert {ran for ran, _ in RAN} == {first.id, second.id}
