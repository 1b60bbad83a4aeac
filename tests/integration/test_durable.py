"""Durable jobs outlive the broker's data: ``flask jobs recover`` runs each that was lost, and none that has ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import group
from sqlalchemy import select

from flask_nightshift import ConfigurationError
from flask_nightshift.domain.events import JobSkipped, JobSucceeded
from flask_nightshift.domain.job import JobRef, utcnow
from flask_nightshift.errors import BrokerUnavailable, DatabaseUnavailable, DuplicateJob
from flask_nightshift.journal import recorder
from flask_nightshift.operations import recovery
from flask_nightshift.operations.recovery import recover
from flask_nightshift.options.publish import InvalidOption
from flask_nightshift.store import Store, heartbeats, ledger
from flask_nightshift.store.tables import outbox
from outbox_shop import Shop, open_shop
from servers import wait_for
from system import System, running

SYSTEMS = [
    pytest.param(("valkey", None), id="valkey-sqlite"),
    pytest.param(
        ("rabbitmq", "postgres"), id="rabbitmq-postgres", marks=[pytest.mark.rabbitmq, pytest.mark.postgres]
    ),
]


class Kept:
    """A system with durable jobs."""

    def __init__(self, system: System, server: Any, database: str) -> None:
        self.system = system
        self.server = server
        self.store = Store(database)

    def enqueue(self, *items: tuple[Any, ...], **options: Any) -> None:
        """Enqueue a durable job for each of ``items``, from a process of its own."""
        self.system.python(
            "import durableapp\n"
            "app = durableapp.create_app()\n"
            f"with app.app_context(): durableapp.keep.enqueue_many({items!r}, **{options!r})\n"
            "app.extensions['nightshift'].close()\n"
        )

    def wipe(self) -> None:
        """Delete the broker's data."""
        url = self.system.env["NIGHTSHIFT_BROKER_URL"]
        if hasattr(self.server, "client"):
            self.server.client().flushall()
        else:
            from kombu import Connection

            with Connection(url) as connection:
                connection.channel().queue_purge("celery")

    def states(self) -> Counter[str]:
        """The states of the rows."""
        with self.store.read() as connection:
            return Counter(connection.execute(select(outbox.c.state)).scalars())

    def done(self) -> Counter[str]:
        """How often each job has ended well."""
        lines = (line.split(" ", 1) for line in self.system.ledger.read_text().splitlines())
        return Counter(marker for marker, event in lines if event == "done")

    def recovers(self, *words: str) -> dict[str, Any]:
        """What the command says."""
        found: dict[str, Any] = self.system.json("recover", *(words or ("--yes",)))
        return found


@pytest.fixture(params=SYSTEMS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    broker, database = request.param
    server = request.getfixturevalue(broker)
    url = (
        request.getfixturevalue(database).fresh_url() if database else f"sqlite:///{tmp_path}/history.sqlite3"
    )
    with ExitStack() as stack:
        system = stack.enter_context(
            running(tmp_path, server.fresh_url(), FLASK_APP="durableapp", NIGHTSHIFT_DATABASE_URL=url)
        )
        made = Kept(system, server, url)
        stack.callback(made.store.close)
        yield made


def test_every_job_ends_although_the_broker_lost_its_data(kept: Kept) -> None:
    names = [f"job-{number}" for number in range(40)]
    kept.system.worker("--concurrency", "2")
    jobs = [(name, 0.05, number % 10 == 0) for number, name in enumerate(names)]
    kept.enqueue(*jobs[:20])
    kept.enqueue(*jobs[20:], unique="until_done")
    wait_for(lambda: len(kept.done()) >= 5, 20, "jobs run")
    kept.wipe()
    while kept.recovers()[
        "held"
    ]:  # what a worker runs now is lost if it asks for a retry, which nobody can write
        time.sleep(1)
    wait_for(lambda: kept.states() == {"succeeded": 40}, 60, "every job has ended")
    assert kept.done().keys() == set(names)
    assert kept.system.json("locks") == []


def test_jobs_that_are_not_lost_run_once(kept: Kept) -> None:
    names = [f"job-{number}" for number in range(20)]
    pools = {"prefork": names[:5], "threads": names[5:10], "gevent": names[10:15], "solo": names[15:]}
    for pool, its in pools.items():  # each has its own way to the ledger's check
        kept.enqueue(*((name,) for name in its), queue=pool, unique="until_done")
    wait_for(lambda: kept.states() == {"published": 20}, 30, "all are published")
    assert kept.recovers("--dry-run") == {"jobs": 20, "held": 0, "waiting": 0, "dry_run": True}
    assert kept.states() == {"published": 20}
    assert kept.recovers() == {"jobs": 20, "held": 0, "waiting": 0, "dry_run": False}
    assert len(kept.system.json("locks")) == 20

    for pool in pools:
        count = "1" if pool == "solo" else "2"
        kept.system.worker("--pool", pool, "--concurrency", count, "--queues", pool, name=pool, wait=False)
    for worker in kept.system.processes:
        wait_for(
            lambda worker=worker: len(worker.lines("job.skipped")) == 5, 100, "the old messages are dropped"
        )
    wait_for(lambda: kept.states() == {"succeeded": 20}, 60, "all have ended")
    assert kept.done() == dict.fromkeys(names, 1)
    assert kept.system.json("locks") == []


def test_a_job_that_runs_is_left_alone_and_one_that_ended_is_not_recovered(kept: Kept) -> None:
    kept.system.worker("--concurrency", "1")
    kept.enqueue(("short",), ("long", 6))
    wait_for(lambda: kept.system.events("long"), 20, "the long job runs")
    assert kept.recovers() == {"jobs": 0, "held": 1, "waiting": 0, "dry_run": False}
    told = kept.recovers("--wait", "30", "--yes")
    assert told == {"jobs": 0, "held": 0, "waiting": 0, "dry_run": False}
    assert kept.states() == {"succeeded": 2}
    assert kept.done() == {"short": 1, "long": 1}


def test_a_job_that_died_or_was_purged_is_not_recovered(kept: Kept) -> None:
    kept.enqueue(("purged",))
    wait_for(lambda: kept.states() == {"published": 1}, 30, "it is published")
    kept.system.cli("purge", "celery", "--yes")
    assert kept.states() == {"purged": 1}
    kept.enqueue(("expired",), expires=0.01)
    kept.enqueue(("dead", 0, 99))
    kept.system.worker("--concurrency", "1")
    wait_for(lambda: kept.states() == {"purged": 1, "dead": 2}, 60, "they are not closed")
    assert kept.recovers()["jobs"] == 0


def rows(shop: Shop) -> list[tuple[Any, ...]]:
    """State, run and whether it is durable, of each row."""
    with shop.services.store.read() as connection:
        found = connection.execute(select(outbox.c.state, outbox.c.run, outbox.c.durable))
        return [tuple(row) for row in found]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    postgres = request.param == "postgres"
    url = request.getfixturevalue("postgres").fresh_url() if postgres else "sqlite:///app.sqlite3"
    made = open_shop(tmp_path, "memory://", url)
    with made.app.app_context():
        yield made
    made.close()


def test_the_row_stays_by_every_call(shop: Shop) -> None:
    shop.send.apply_async_on_commit((1,), durable=True)
    shop.send.delay_on_commit(2)
    assert rows(shop) == []
    shop.db.session.rollback()
    shop.send.apply_async_on_commit((1,), durable=True)
    shop.send.delay_on_commit(2)
    shop.db.session.commit()
    shop.send.apply_async((3,), durable=True)
    shop.send.enqueue_many([(4,), (5,)], durable=True)
    group(shop.send.si(6).set(durable=True), shop.send.si(7)).delay()
    shop.settles(7, 5)
    wait_for(lambda: rows(shop) == [("published", 0, 1)] * 5, 10, f"{rows(shop)}")


def test_a_broker_that_is_away_only_delays_a_durable_job(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(shop.services.broker, "publish_many", away)
    assert shop.send.apply_async((1,), durable=True).id
    assert rows(shop) == [("waiting", 0, 1)]


def test_recovered_jobs_are_a_new_run_and_the_older_one_may_not_begin(shop: Shop) -> None:
    shop.send.apply_async((1,), durable=True)
    wait_for(lambda: rows(shop) == [("published", 0, 1)], 10, "it is published")
    assert recover(shop.services, dry_run=True) == (1, 0, 0)
    assert rows(shop) == [("published", 0, 1)]
    assert recover(shop.services) == (1, 0, 0)
    assert (shop.ready, rows(shop)) == (2, [("published", 1, 1)])
    with shop.services.store.read() as connection:
        row = connection.execute(select(outbox.c.id)).scalar_one()
    old, new = (JobRef("job", "shop.send", "celery", 1, run=run, durable=row) for run in (0, 1))
    begin = partial(ledger.begin, shop.services.outboxes, worker="w", at=utcnow())
    assert begin(old) == "run 1"
    assert begin(new) == ""
    shop.services.events.emit(JobSkipped(old, utcnow(), "run 1", "the ledger names"))
    shop.services.journal.flush()
    assert rows(shop) == [("published", 1, 1)]
    shop.services.events.emit(JobSucceeded(old, utcnow(), "w", 0.0))
    shop.services.journal.flush()
    assert rows(shop) == [("succeeded", 1, 1)]
    assert begin(new) == "the outcome succeeded"
    assert recover(shop.services) == (0, 0, 0)


def test_recover_leaves_rows_of_another_version_alone(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.send.apply_async((1,), durable=True)
    shop.send.apply_async((2,), durable=True)
    wait_for(lambda: rows(shop) == [("published", 0, 1)] * 2, 10, "they are published")
    with shop.services.store.begin() as connection:
        newer = select(outbox.c.id).limit(1).scalar_subquery()
        connection.execute(outbox.update().where(outbox.c.id == newer).values(format=99))
    assert recover(shop.services) == (1, 0, 0)
    assert sorted(rows(shop)) == [("published", 0, 1), ("published", 1, 1)]
    assert [each.rows for each in caplog.records if each.getMessage() == "outbox.unknown_format"] == [1]  # type: ignore[attr-defined]


def test_recover_waits_for_jobs_that_run_and_publishes_those_that_are_lost_then(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, ends = (shop.send.apply_async((number,), durable=True).id for number in range(2))
    wait_for(lambda: rows(shop) == [("published", 0, 1)] * 2, 10, "they are published")
    with shop.services.store.read() as connection:
        row_of = dict(connection.execute(select(outbox.c.job_id, outbox.c.id)).all())
    jobs = {name: JobRef(name, "shop.send", "celery", 1, durable=row_of[name]) for name in (lost, ends)}
    for job in jobs.values():
        assert ledger.begin(shop.services.outboxes, job, "w", utcnow()) == ""
    busy = [lost, ends]

    def workers(*_: Any) -> list[Any]:
        return [SimpleNamespace(name="w", seen_at=utcnow(), busy=[{"job_id": name} for name in busy])]

    def time_passes(seconds: float) -> None:
        if seconds == recovery.LOOK_AGAIN and len(busy) == 2:
            shop.services.events.emit(JobSucceeded(jobs[ends], utcnow(), "w", 0.0))
            shop.services.journal.flush()
            busy.clear()

    monkeypatch.setattr(heartbeats, "workers", workers)
    assert recover(shop.services) == (0, 2, 0)
    assert recover(shop.services, patience=30, wait=time_passes) == (1, 0, 0)
    assert sorted(rows(shop)) == [("published", 1, 1), ("succeeded", 0, 1)]


@pytest.mark.postgres
def test_outcomes_are_recorded_where_the_app_has_a_database_of_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No journal writes to that one; its outcomes wait in memory while it is away, and none is dropped."""
    postgres = request.getfixturevalue("postgres").fresh_url()
    history = "sqlite:///history.sqlite3"
    shop = open_shop(tmp_path, "memory://", postgres, NIGHTSHIFT_DATABASE_URL=history)
    request.addfinalizer(shop.close)
    theirs = shop.services.outboxes[-1]

    def row_states() -> list[str]:
        with theirs.read() as connection:
            return sorted(connection.execute(select(outbox.c.state)).scalars())

    with shop.app.app_context():
        for number in range(3):
            shop.send.apply_async_on_commit((number,), durable=True)
        shop.db.session.commit()
        wait_for(lambda: row_states() == ["published"] * 3, 10, "they are published")
        with theirs.read() as connection:
            found = connection.execute(select(outbox.c.job_id, outbox.c.id)).all()
        jobs = [JobRef(job_id, "shop.send", "celery", 1, durable=row) for job_id, row in found]
        begin_transaction = theirs.begin
        monkeypatch.setattr(theirs, "begin", store_away)
        shop.services.events.emit(JobSucceeded(jobs[0], utcnow(), "w", 0.0))
        shop.services.events.emit(JobSkipped(jobs[1], utcnow(), "purged", "by hand"))
        wait_for(lambda: "outbox.paused" in caplog.text, 10, "it knows that the database is away")
        assert row_states() == ["published"] * 3
        monkeypatch.setattr(theirs, "begin", begin_transaction)
        wait_for(lambda: row_states() == ["published", "skipped", "succeeded"], 10, f"{row_states()}")
        assert recover(shop.services, dry_run=True) == (1, 0, 0)


def test_a_durable_job_can_be_unique(shop: Shop) -> None:
    both = {"durable": True, "unique": "until_done"}
    first = shop.send.apply_async((1,), **both)
    assert shop.send.apply_async((1,), **both).id == first.id
    assert shop.send.enqueue_many([(1,), (2,)], **both)[0] == first.id
    with pytest.raises(DuplicateJob, match=first.id):
        shop.send.apply_async((1,), on_duplicate="raise", **both)
    wait_for(lambda: rows(shop) == [("published", 0, 1)] * 2, 10, "duplicates leave no row")
    shop.send.apply_async_on_commit((1,), **both)
    shop.db.session.commit()
    published, skipped = ("published", 0, 1), ("skipped", 0, 1)
    wait_for(lambda: sorted(rows(shop)) == [published, published, skipped], 10, "somebody knows its id")
    assert shop.ready == 2

    assert recover(shop.services).jobs == 2
    assert sorted(rows(shop)) == [("published", 1, 1)] * 2 + [skipped]
    assert shop.ready == 4, "the older messages are superseded when they begin"
    assert {lock.job_id for lock in shop.services.locks.held(10)} >= {first.id}


def test_a_durable_job_replaces_no_other(shop: Shop) -> None:
    options = {"durable": True, "unique": "until_done", "on_duplicate": "replace"}
    with pytest.raises(InvalidOption, match="a job that replaces others cannot be durable"):
        shop.send.apply_async((1,), **options)
    with pytest.raises(ConfigurationError, match="a job that replaces others cannot be durable"):
        shop.services.celery.task(lambda: None, name="both", **options)
    assert rows(shop) == []


def test_outcomes_of_durable_jobs_are_not_dropped_while_the_database_is_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.send.apply_async((1,), durable=True)
    wait_for(lambda: rows(shop) == [("published", 0, 1)], 10, "it is published")
    with shop.services.store.read() as connection:
        row = connection.execute(select(outbox.c.id)).scalar_one()
    store, journal = shop.services.store, shop.services.journal
    begin_transaction = store.begin
    monkeypatch.setattr(recorder, "MAX_RECORDS", 10)
    monkeypatch.setattr(recorder, "ROOM_TIMEOUT", 0.01)
    monkeypatch.setattr(store, "begin", store_away)
    journal(JobSucceeded(JobRef("first", "shop.send", "celery", 1), utcnow(), "w", 0.0))
    wait_for(lambda: journal._loop.away, 10, "the journal knows that the database is away")
    for number in range(50):
        job = JobRef(f"job-{number}", "shop.send", "celery", 1, durable="" if number else row)
        journal(JobSucceeded(job, utcnow(), "w", 0.0))
    assert journal._dropped == 40
    monkeypatch.setattr(store, "begin", begin_transaction)
    assert journal.flush(20)
    wait_for(lambda: rows(shop) == [("succeeded", 0, 1)], 10, "it is closed")


def store_away(*_: Any, **__: Any) -> Any:
    raise DatabaseUnavailable("away")
