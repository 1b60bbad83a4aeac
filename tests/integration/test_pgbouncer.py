"""Everything works behind PgBouncer in transaction mode, without a lost total: we keep no state in a session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import create_engine

from flask_nightshift import AlreadyInProgress, Nightshift, dead_letters, journal
from flask_nightshift.config import settings as config
from flask_nightshift.domain.events import JobStarted, JobSucceeded
from flask_nightshift.domain.job import JobRef, utcnow
from flask_nightshift.message import burial
from flask_nightshift.store import Store, heartbeats
from pgbouncer import PgBouncer
from servers import Postgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    server = PgBouncer(postgres)
    server.start()
    yield server
    server.close()


def at_once(*works: Callable[[], object]) -> None:
    """Run all, in threads; the first error of any comes out."""
    errors: list[Exception] = []

    def safely(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as exc:  # noqa: BLE001 - it is raised again
            errors.append(exc)

    threads = [threading.Thread(target=safely, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_history_heartbeats_and_dead_letters(pooler: PgBouncer, postgres: Postgres) -> None:
    url = pooler.of(postgres.fresh_url())
    stores = [Store(url) for _ in range(4)]
    at_once(*(store.migrate for store in stores))

    def write(number: int) -> None:
        writer = journal.Journal(stores[number], worker=f"w{number}")
        for turn in range(25):
            ref = JobRef(f"{number}-{turn}", "t", "q", 1)
            writer(JobStarted(ref, utcnow(), "w", 0.1))
            writer(JobSucceeded(ref, utcnow(), "w", 0.2))
            assert writer.flush(10)
            now = utcnow()
            heartbeats.write(stores[number], heartbeats.WorkerHeartbeat(f"w{number}", "h", 1, now, now, now))
            headers = {"id": f"d{number}-{turn}", "task": "t", "nightshift": {"queue": "q"}}
            letter = burial.dead_letter(b"[[],{},{}]", headers, {}, "application/json", "utf-8")
            dead_letters.archive(stores[number], [letter], worker=f"w{number}")
            dead_letters.discard(stores[number], dead_letters.Filters(ids=(letter.id,)))
        writer.close()

    at_once(*(partial(write, number) for number in range(4)))
    counts = {row.outcome: row.count for row in journal.totals(stores[0])}
    assert counts == {"succeeded": 100, "dead": 100}
    assert dead_letters.count(stores[0], dead_letters.Filters(status="discarded")) == 100
    settings = config.load(Flask("shop"))
    assert journal.prune(stores[0], settings, utcnow())["jobs"] == 0
    for store in stores:
        store.close()


def test_a_block_that_is_done_once(pooler: PgBouncer, postgres: Postgres, tmp_path: Path) -> None:
    app = Flask("once", instance_path=str(tmp_path))
    app.config |= {
        "NIGHTSHIFT_BROKER_URL": "memory://",
        "NIGHTSHIFT_DATABASE_URL": pooler.of(postgres.fresh_url()),
    }
    jobs, entered = Nightshift(app), []
    jobs.services.store.migrate()
    engine = create_engine(jobs.services.store._url, connect_args={"prepare_threshold": None})

    def enter(number: int) -> None:
        while True:
            try:
                with engine.connect() as connection, jobs.once("with a session", connection) as first:
                    entered.extend(["with"] * first)
                    connection.commit()
                with jobs.once("by itself") as first:
                    entered.extend(["by itself"] * first)
                return
            except AlreadyInProgress:
                continue

    at_once(*(partial(enter, number) for number in range(4)))
    assert sorted(entered) == ["by itself", "with"]
    engine.dispose()
    jobs.close()
