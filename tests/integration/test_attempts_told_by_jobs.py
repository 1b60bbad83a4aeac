"""A first attempt that succeeded has no row beside its job's, and nobody who reads the history can tell."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from flask_nightshift import JobRecord, journal
from flask_nightshift.domain.events import (
    JobDied,
    JobEnqueued,
    JobEvent,
    JobRetrying,
    JobReturned,
    JobStarted,
    JobSucceeded,
)
from flask_nightshift.domain.job import Failure, JobRef, Outcome, Reason, utcnow
from flask_nightshift.journal import batch, following
from flask_nightshift.store import Store, tables

T0 = utcnow().replace(microsecond=0)
BOOM = Failure("ValueError", "boom", "Traceback …")
Tell = Callable[..., JobRecord]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ref(attempt: int = 1, run: int = 0, enqueued: float = 0.0) -> JobRef:
    return JobRef("j1", "mail.send", "mail", attempt, "r1", at(enqueued), run)


def enqueued(seconds: float = 0.0) -> JobEnqueued:
    return JobEnqueued(ref(enqueued=seconds), at(seconds), "[7]", "{}")


def started(
    seconds: float, worker: str = "w1", job: JobRef | None = None, wait: float | None = -1
) -> JobStarted:
    job = job or ref()
    if wait == -1:  # as a worker computes it, for a job without a delay
        assert job.enqueued_at is not None
        wait = max(0.0, (at(seconds) - job.enqueued_at).total_seconds())
    return JobStarted(job, at(seconds), worker, wait)


def succeeded(since: float, seconds: float, worker: str = "w1", job: JobRef | None = None) -> JobSucceeded:
    return JobSucceeded(job or ref(), at(seconds), worker, seconds - since, "7")


def ran(since: float, worker: str = "w1", job: JobRef | None = None) -> list[JobEvent]:
    """A first attempt that succeeds."""
    return [started(since, worker, job), succeeded(since, since + 0.25, worker, job)]


@pytest.fixture
def tell(store: Store) -> Tell:
    """Has processes write batches of events, one after the other; returns the job's record."""

    def write(*batches: list[JobEvent]) -> JobRecord:
        with store.begin() as connection:
            connection.execute(tables.jobs.delete())
            connection.execute(tables.attempts.delete())
        following_ = following.Open()
        for number, events in enumerate(batches, 1):
            records = following_.follow(events)
            batch.write(store, batch.Batch("p", "w1", number, len(events), records))
        found = journal.find_job(store, "j1")
        assert found is not None
        return found

    return write


@pytest.fixture
def with_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., JobRecord]:
    """Calls with every attempt written as a row, which is the history to compare with."""

    def call(function: Tell, *batches: list[JobEvent]) -> JobRecord:
        with monkeypatch.context() as patch:
            patch.setattr(following, "is_told_by_job", lambda *_: False)
            return function(*batches)

    return call


def rows(store: Store) -> int:
    with store.read() as connection:
        return len(connection.execute(select(tables.attempts.c.job_id)).all())


def test_a_first_attempt_that_succeeds_has_no_row(store: Store, tell: Tell, with_rows: Tell) -> None:
    expected = with_rows(tell, [enqueued()], ran(1))
    assert rows(store) == 1
    record = tell([enqueued()], ran(1))
    assert rows(store) == 0
    assert record == expected
    [attempt] = record.history
    assert (attempt.run, attempt.number, attempt.worker, attempt.outcome) == (0, 1, "w1", Outcome.SUCCEEDED)
    assert (attempt.at, attempt.ended_at, attempt.wait, attempt.runtime) == (at(1), at(1.25), 1.0, 0.25)


def test_the_runtime_is_that_of_the_body_and_the_end_is_when_it_was_reported(tell: Tell) -> None:
    event = JobSucceeded(ref(), at(2), "w1", 0.123456)
    record = tell([started(1), event])
    assert record.finished_at == at(2)
    assert (record.history[0].runtime, record.history[0].ended_at) == (0.123456, at(2))


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([started(9, wait=2.0), succeeded(9, 10)], id="delayed"),
        pytest.param([started(9, wait=None), succeeded(9, 10)], id="wait unknown"),
        pytest.param([started(9, job=ref(2)), succeeded(9, 10, job=ref(2))], id="second attempt"),
        pytest.param([started(9, job=ref(run=1)), succeeded(9, 10, job=ref(run=1))], id="replayed"),
        pytest.param([succeeded(9, 10)], id="start unknown"),
        pytest.param(
            [started(9, job=ref()._replace(enqueued_at=None), wait=None),
             succeeded(9, 10, job=ref()._replace(enqueued_at=None))],
            id="from a plain Celery producer",
        ),
    ],
)  # fmt: skip
def test_an_attempt_that_the_job_cannot_tell_has_a_row(
    store: Store, tell: Tell, events: list[JobEvent]
) -> None:
    [attempt] = tell(events).history
    assert rows(store) == 1
    assert (attempt.ended_at, attempt.runtime) == (at(10), 1.0)


def test_a_start_that_is_written_before_its_end_has_a_row(store: Store, tell: Tell) -> None:
    begins, ends = ran(1)
    record = tell([begins], [ends])
    assert rows(store) == 1
    assert [(a.at, a.wait, a.outcome) for a in record.history] == [(at(1), 1.0, Outcome.SUCCEEDED)]


AFTERWARDS: dict[str, list[JobEvent]] = {
    "another worker ran it too": ran(5, "w2"),
    "another worker had begun it before": ran(0.5, "w2"),
    "another worker begins it": [started(5.1, "w2")],
    "another worker's attempt failed": [
        started(5.2, "w2"),
        JobRetrying(ref(), at(6), "w2", 1.0, BOOM, at(9), 3.0, 5),
    ],
    "its id is used again": [enqueued(4), *ran(5.4, "w2", ref(enqueued=4))],
    "it dies": [JobDied(ref(), at(6), "w2", None, BOOM, Reason.DELIVERY_LIMIT)],
    "it is returned": [started(5.3, "w2"), JobReturned(ref(), at(6), "w2", "the worker stops")],
    "it runs in another run": [started(7, "w2", ref(run=1)), succeeded(7, 8, "w2", ref(run=1))],
    "the web process is late": [enqueued()],
    "the same once more": ran(1),
}


@pytest.mark.parametrize("then", AFTERWARDS.values(), ids=AFTERWARDS)
def test_what_happens_to_the_job_later_hides_no_attempt(
    tell: Tell, with_rows: Tell, then: list[JobEvent]
) -> None:
    for batches in ([[enqueued()], ran(1), then], [[enqueued(), *ran(1), *then]], [ran(1), then, then]):
        assert tell(*batches) == with_rows(tell, *batches)


def test_an_id_that_is_enqueued_twice_before_it_runs(tell: Tell, with_rows: Tell) -> None:
    batches = [enqueued(), enqueued(0.5)], ran(1, job=ref(enqueued=0.5)), ran(2, "w2")
    assert tell(*batches) == with_rows(tell, *batches)


def test_a_replay_hides_no_attempt(store: Store, tell: Tell) -> None:
    tell([enqueued()], ran(1))
    with store.begin() as connection:
        journal.record_replayed(connection, [ref()], at(10))
    record = journal.find_job(store, "j1")
    assert record is not None
    assert (record.run, record.worker) == (1, None)
    assert [(a.run, a.number, a.at, a.worker) for a in record.history] == [(0, 1, at(1), "w1")]


def test_any_order_of_events_tells_the_same_with_and_without_rows(tell: Tell, with_rows: Tell) -> None:
    choices = [enqueued(), enqueued(3), *(event for events in AFTERWARDS.values() for event in events)]
    lives = [ran(1), ran(2, "w2"), *AFTERWARDS.values()]
    rng = random.Random(14)  # always the same, so that a failure can be repeated
    for _ in range(60):
        parts = [rng.choice([[rng.choice(choices)], rng.choice(lives)]) for _ in range(rng.randint(1, 5))]
        batches = [[event for part in parts[:2] for event in part], *parts[2:]]
        assert tell(*batches) == with_rows(tell, *batches), batches


def test_many_jobs_of_which_some_ran_twice(store: Store) -> None:
    """One conflict in a batch disturbs no other job of it."""
    follow = following.Open()
    for number, worker in enumerate(("w1", "w2")):
        events: list[JobEvent] = []
        for index in range(120):
            if worker == "w1" or index % 50 == 0:
                job = ref()._replace(job_id=f"j{index}")
                events += ran(1 + number, worker, job)
        events += ran(3, worker, ref()._replace(job_id=f"only-{worker}"))
        batch.write(store, batch.Batch("p", worker, number, len(events), follow.follow(events)))
    found = {index: journal.find_job(store, f"j{index}") for index in range(120)}
    twice = {index for index, job in found.items() if job and [a.worker for a in job.history] == ["w1", "w2"]}
    once = {index for index, job in found.items() if job and [a.worker for a in job.history] == ["w1"]}
    assert twice == {0, 50, 100}
    assert twice | once == set(range(120))


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    assert [*journal.JobRow._fields, "block"] == tables.jobs.c.keys()
