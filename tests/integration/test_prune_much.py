"""Retention of a large, sparse or old database ends, in bounded transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, insert, select, text

from flask_nightshift import journal
from flask_nightshift.config import settings as config
from flask_nightshift.domain.job import utcnow
from flask_nightshift.journal import steps
from flask_nightshift.journal.tally import ALL_TIME
from flask_nightshift.store import Store, tables
from flask_nightshift.store.types import MAX_KEY

NOW = utcnow().replace(hour=12, minute=30, second=20)
SETTINGS = config.load(Flask("shop"))


def total(minute: datetime, task: str = "t", worker: str = "w") -> dict[str, Any]:
    counted = {column.name: 1 for column in tables.totals.c}
    return {**counted, "minute": minute, "task": task, "queue": "q", "outcome": "succeeded", "worker": worker}


def fill(store: Store, rows: Iterator[dict[str, Any]]) -> None:
    with store.begin(timeout=60) as connection:
        connection.execute(insert(tables.totals), list(rows))


def longest_transaction(store: Store) -> list[int]:
    """The most statements that one transaction had; it grows."""
    most, now = [0], [0]

    @event.listens_for(store.engine, "begin")
    def begin(_: Any) -> None:
        now[0] = 0

    @event.listens_for(store.engine, "before_cursor_execute")
    def execute(_connection: Any, _cursor: Any, _statement: str, parameters: Any, *_: Any) -> None:
        now[0] += len(parameters) if isinstance(parameters, list) else 1
        most[0] = max(most[0], now[0])

    return most


def test_minutes_that_have_a_row_each_are_folded(store: Store) -> None:
    """A quiet app whose Beat was away for two days: 2,000 minutes to fold, with a row each."""
    fill(store, (total(NOW.replace(second=0, microsecond=0) - timedelta(minutes=m)) for m in range(70, 2070)))
    assert journal.prune(store, SETTINGS, NOW)["totals"] == 2000
    assert sum(row.count for row in journal.recent_totals(store, NOW - timedelta(days=3))) == 2000


def test_ten_thousand_containers_are_folded_in_bounded_transactions(store: Store) -> None:
    rows = (total(ALL_TIME, f"t{task}", f"host{host}") for host in range(3_000) for task in range(4))
    fill(store, rows)
    before = journal.totals(store)
    statements = longest_transaction(store)
    journal.prune(store, SETTINGS, NOW)
    assert statements[0] < 100
    assert journal.totals(store) == before
    with store.read() as connection:
        assert connection.execute(select(tables.totals.c.worker).distinct()).scalars().all() == [""]


@pytest.fixture
def long_history(tmp_path: Path) -> Iterator[Store]:
    """6,000 old jobs, half of them with an attempt of its own, and 1,000 rows of totals to fold, in SQLite."""
    store = Store(f"sqlite:///{tmp_path}/history.sqlite3")
    store.migrate()
    long_ago = NOW - timedelta(days=40)
    job = {"task": "t", "queue": "q", "state": "succeeded", "place": 1, "run": 0, "attempts": 1, "args": "x" * 300,
           "started_at": long_ago}  # fmt: skip
    attempt = {"run": 0, "number": 1, "started_at": long_ago, "worker": "w", "traceback": "x" * 1000}
    with store.begin(timeout=60) as connection:
        ids = [f"{number:05}" for number in range(6_000)]
        connection.execute(insert(tables.jobs), [{**job, "id": each, "updated_at": long_ago} for each in ids])
        connection.execute(insert(tables.attempts), [{**attempt, "job_id": each} for each in ids[::2]])
    fill(
        store,
        (total(NOW - timedelta(hours=3), f"t{task}", f"h{host}") for task in range(20) for host in range(50)),
    )
    yield store
    store.close()


def test_no_transaction_holds_sqlites_lock_for_long(long_history: Store) -> None:
    """In processor time, which the load of this machine does not change."""
    held, begun = [0.0], [0.0]

    @event.listens_for(long_history.engine, "begin")
    def begin(_: Any) -> None:
        begun[0] = time.thread_time()

    @event.listens_for(long_history.engine, "commit")
    def commit(connection: Any) -> None:
        if connection.get_execution_options().get("nightshift_write"):
            held.append(time.thread_time() - begun[0])

    counts = journal.prune(long_history, SETTINGS, NOW)
    assert (counts["jobs"], counts["attempts"], counts["totals"]) == (6_000, 6_000, 1_000)
    assert max(held) < 0.1
    assert len(held) > 10


def test_a_transaction_ends_soon_if_its_rows_are_heavier_than_those_before(store: Store) -> None:
    pace = steps.Pace()
    for _ in range(9):
        pace.took(0.0)
    begun: list[int] = []

    @event.listens_for(store.engine, "begin")
    def begin(_: Any) -> None:
        begun.append(0)

    def change(_: Any, keys: Any) -> None:
        begun[-1] += len(keys)
        time.sleep(steps.MOST_SECONDS / 40 * len(keys))

    pace.work(store, range(201), change)
    assert sum(begun) == 201
    assert max(begun) <= (40 if store.engine.dialect.name == "sqlite" else 201)
    begun.clear()
    pace.work(store, range(201), change, [99] * 100 + [1] * 101)
    assert sum(begun) == 201
    assert max(begun) <= (140 if store.engine.dialect.name == "sqlite" else 201)


def test_the_pace_follows_from_what_transactions_take() -> None:
    one = steps.Pace(least=1)
    one.took(10.0)
    assert one.rows == steps.FIRST // 2
    for _ in range(20):
        one.took(10.0)
    assert one.rows == 1
    usual = steps.Pace()
    usual.took(10.0)
    assert usual.rows == steps.LEAST
    for _ in range(20):
        one.took(0.0)
    assert one.rows == steps.MOST
    one.took(steps.AIM)
    assert one.rows == steps.MOST


def test_keys_that_an_earlier_version_stored_whole_are_pruned(store: Store) -> None:
    long_ago = NOW - timedelta(days=100)
    job = "INSERT INTO nightshift_jobs (id, task, queue, state, place, run, attempts, updated_at) VALUES "
    with store.begin() as connection:
        for number in range(3):
            job_id = f"{number}" + "x" * 2 * MAX_KEY
            at = long_ago if connection.dialect.name == "postgresql" else f"{long_ago:%Y-%m-%d %H:%M:%S.%f}"
            statement = text(f"{job} (:id, 't', 'q', 'succeeded', 1, 0, 1, :at)")
            connection.execute(statement, {"id": job_id, "at": at})
    assert journal.prune(store, SETTINGS, NOW)["jobs"] == 3


@pytest.mark.postgres
def test_pruning_ends_if_the_database_deletes_nothing(postgres: Any) -> None:
    store = Store(postgres.fresh_url())
    store.migrate()
    with store.begin() as connection:
        connection.execute(
            text(
                "CREATE RULE kept AS ON DELETE TO nightshift_workers WHERE old.name = 'w' DO INSTEAD NOTHING"
            )
        )
        long_ago = NOW - timedelta(days=9)
        row = dict.fromkeys(("hostname", "pool", "version"), "x") | dict.fromkeys(("pid", "concurrency"), 1)
        times = dict.fromkeys(("started_at", "seen_at", "loop_at"), long_ago)
        connection.execute(insert(tables.workers).values(name="w", busy=[], queues=[], **row, **times))
    assert journal.prune(store, SETTINGS, NOW)["workers"] == 0
    store.close()
