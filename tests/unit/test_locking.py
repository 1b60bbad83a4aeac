"""The locks of unique jobs in the database: one transaction for all jobs that began or ended together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from flask_nightshift.message.unique import Lock
from flask_nightshift.worker.locking import TogetherLocking


class Database:
    """The locks, as ``TogetherLocking`` uses them; the first step waits until the test lets it go on."""

    def __init__(self) -> None:
        self.steps: list[tuple[list[str], list[str]]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.error: Exception | None = None

    def step(self, begun: Sequence[Lock], settled: Sequence[Lock]) -> dict[str, str]:
        self.begun.set()
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        self.steps.append(([each.job_id for each in begun], [each.job_id for each in settled]))
        return {"replaced": "newer"}


class Consumer:
    """The worker's consumer; the test makes the calls of its event loop."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Any, Any]] = SimpleQueue()

    def call_soon(self, call: Any, *args: Any) -> None:
        self.calls.put((call, args))

    def turn(self) -> None:
        call, args = self.calls.get(timeout=10)
        call(*args)


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def locking(database: Any, consumer: Consumer) -> TogetherLocking:
    return TogetherLocking(database, consumer)


def lock(job_id: str) -> Lock:
    return Lock(f"task:{job_id}", job_id, "task")


def test_what_comes_during_a_transaction_shares_the_next_one(
    locking: TogetherLocking, database: Database, consumer: Consumer
) -> None:
    told: list[Any] = []
    locking.release(lock("first"), lambda: told.append("first"))
    assert database.begun.wait(10)
    for name in ("a", "b"):
        locking.release(lock(name), partial(told.append, name))
    assert locking.begins_later(lock("c"), lambda by: told.append(("c", by)))
    assert locking.begins_later(lock("replaced"), lambda by: told.append(("replaced", by)))
    assert not told
    assert not database.steps

    database.go.set()
    consumer.turn()
    assert told[0] == "first"
    consumer.turn()
    assert database.steps == [([], ["first"]), (["c", "replaced"], ["a", "b"])]
    assert told == ["first", "a", "b", ("c", ""), ("replaced", "newer")]
    locking.finish()


def test_jobs_go_on_if_the_transaction_fails(
    locking: TogetherLocking, database: Database, consumer: Consumer, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    database.error = RuntimeError("no such table")
    database.go.set()
    locking.release(lock("a"), lambda: told.append("a"))
    consumer.turn()
    locking.begins_later(lock("b"), told.append)
    consumer.turn()
    assert told == ["a", ""]
    assert "no such table" in caplog.text
    locking.finish()


def test_one_job_does_not_concern_the_next(
    locking: TogetherLocking, database: Database, consumer: Consumer
) -> None:
    told: list[Any] = []
    locking.release(lock("a"), lambda: 1 / 0)
    locking.release(lock("b"), lambda: told.append("b"))
    database.go.set()
    consumer.turn()
    while not told:
        consumer.turn()
    locking.finish()


def test_a_worker_that_ends_acknowledges_what_has_ended(locking: TogetherLocking, database: Database) -> None:
    told: list[Any] = []
    locking.release(lock("a"), lambda: told.append("a"))
    assert database.begun.wait(10)
    locking.release(lock("b"), lambda: told.append("b"))
    database.go.set()
    locking.finish()
    assert told == ["a", "b"]
