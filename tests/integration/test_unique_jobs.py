"""Unique jobs when workers are killed, and their locks in the database when many claim at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from flask_nightshift.domain.job import utcnow
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.message.unique import Holders, Lock
from flask_nightshift.outbox.claimed import ClaimedRows
from flask_nightshift.store import Store
from flask_nightshift.unique import DatabaseLocks
from system import System

ENQUEUE = """
from jobsapp import create_app, succeed
with create_app().app_context():
    print(succeed.apply_async(("%s", %s), unique="until_done", unique_key="one").id)
"""


def enqueue(system: System, marker: str, seconds: float = 0) -> str:
    return system.python(ENQUEUE % (marker, seconds)).split()[-1]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_lock_stays_with_the_job_of_a_killed_worker(
    new_system: Callable[..., System], database: str, request: pytest.FixtureRequest
) -> None:
    settings = {}
    if database == "postgres":
        settings["NIGHTSHIFT_DATABASE_URL"] = str(request.getfixturevalue("postgres").fresh_url())
    system = new_system(**settings)
    worker = system.worker("--concurrency", "1")
    job = enqueue(system, "long", 4)
    system.until(lambda: "begun" in system.events("long"), 20, "the job has not begun")
    worker.kill_tree()
    assert enqueue(system, "other") == job
    (lock,) = system.json("locks")
    assert (lock["key"], lock["job_id"]) == ("test.succeed:one", job)
    assert lock["started_at"] is not None

    system.worker("--concurrency", "1", name="second")
    system.until(lambda: "done" in system.events("long"), 40, "the job did not run again")
    system.until(lambda: system.json("locks") == [], 20, "the lock is not released")
    counted = Counter(system.events("long"))
    assert (counted["begun"], counted["done"], system.events("other")) == (2, 1, [])
    assert enqueue(system, "third") != job


def lock(job_id: str, key: str = "k", **options: Any) -> Lock:
    return Lock(key, job_id, "mail.send", **options)


def claim(locks: DatabaseLocks, *wanted: Lock) -> Holders:
    held: Holders = {}
    envelopes = [
        Envelope(
            b"[[],{},{}]",
            {"id": each.job_id, "task": each.task, "nightshift": {"queue": "q", "unique": each.header()}},
        )
        for each in wanted
    ]
    locks.claim(envelopes, "q", None, held, from_outbox=False)
    return held


def test_of_many_that_claim_at_once_one_gets_the_lock(store: Store) -> None:
    locks = DatabaseLocks(store, ClaimedRows())
    results: list[Holders] = []
    begin = threading.Barrier(6)

    def work(name: int) -> None:
        begin.wait()
        keys = [f"k{number}" for number in range(20)]
        keys = keys if name % 2 else keys[::-1]  # in two orders, which must not deadlock
        results.append(claim(locks, *(lock(f"{name}-{key}", key) for key in keys)))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, results)) == 5 * 20
    assert len({held.job_id for held in locks.held(100)}) == 20


def test_a_replaced_job_does_not_begin_and_one_that_began_is_not_replaced(store: Store) -> None:
    locks = DatabaseLocks(store, ClaimedRows())
    old, new, third = lock("old"), lock("new", on_duplicate="replace"), lock("third", on_duplicate="replace")
    assert claim(locks, old) == {}
    assert claim(locks, new) == {}
    assert locks.begin(None, old) == "new"
    assert locks.begin(None, new) == ""
    assert claim(locks, third) == {"third": "new"}
    locks.settled(old)
    assert [held.job_id for held in locks.held(10)] == ["new"]
    locks.settled(new)
    assert claim(locks, third) == {}


def test_a_lock_whose_time_is_over_can_be_taken(store: Store) -> None:
    locks = DatabaseLocks(store, ClaimedRows())
    assert claim(locks, lock("first", seconds=0.001)) == {}
    assert all(held.expires_at > utcnow() for held in locks.held(10))
    assert claim(locks, lock("second")) == {}
    locks.settled(lock("first"))
    assert [held.job_id for held in locks.held(10)] == ["second"]
