"""The journal on SQLite and PostgreSQL: one record per job, whatever the order of its events."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

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
from flask_nightshift.domain.job import Failure, JobRef, JobState, Outcome, Reason, utcnow
from flask_nightshift.journal import progress
from flask_nightshift.journal.following import Record
from flask_nightshift.journal.progress import Said
from flask_nightshift.store import Store

T0 = utcnow().replace(microsecond=0)
BOOM = Failure("ValueError", "boom", "Traceback …")


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def ref(attempt: int = 1, job_id: str = "j1", run: int = 0) -> JobRef:
    return JobRef(job_id, "mail.send", "mail", attempt, request_id="r1", enqueued_at=T0, run=run)


def enqueued(job_id: str = "j1", **more: Any) -> JobEnqueued:
    return JobEnqueued(ref(job_id=job_id), at(0), args="[7]", kwargs='{"to": "ann"}', **more)


def started(attempt: int, seconds: float, worker: str = "w1", run: int = 0, **more: Any) -> JobStarted:
    return JobStarted(ref(attempt, run=run), at(seconds), worker, **more)


def retrying(attempt: int, seconds: float, wait: float = 1) -> JobRetrying:
    due = at(seconds + wait)
    return JobRetrying(ref(attempt), at(seconds), "w1", 0.5, BOOM, due, wait, max_retries=5)


def died(
    attempt: int, seconds: float, reason: Reason = Reason.EXHAUSTED, runtime: float | None = 0.5
) -> JobDied:
    return JobDied(ref(attempt), at(seconds), "w1", runtime, BOOM, reason)


def succeeded(attempt: int, seconds: float, run: int = 0, worker: str = "w1") -> JobSucceeded:
    return JobSucceeded(ref(attempt, run=run), at(seconds), worker, 0.5, result='{"sent": true}')


LIFE: list[JobEvent] = [enqueued(), started(1, 1), retrying(1, 2), started(2, 4), succeeded(2, 5)]


def tell(store: Store, *events: JobEvent, together: bool = True) -> JobRecord:
    """Have one journal write ``events``, in one batch or each by itself; the job's record after."""
    writer = journal.Journal(store, worker="w1")
    for event in events:
        writer(event)
        if not together:
            assert writer.flush(10)
    assert writer.flush(10)
    writer.close()
    found = journal.find_job(store, "j1")
    assert found is not None
    return found


class TestOneJob:
    def test_a_job_s_life_is_recorded(self, store: Store) -> None:
        record = tell(store, *LIFE)
        assert (record.task, record.queue, record.request_id) == ("mail.send", "mail", "r1")
        assert (record.args, record.kwargs) == ("[7]", '{"to": "ann"}')
        assert (record.state, record.attempts, record.max_retries) == (JobState.SUCCEEDED, 2, 5)
        assert (record.enqueued_at, record.started_at, record.finished_at) == (at(0), at(4), at(5))
        assert (record.result, record.error, record.due_at, record.worker) == (
            {"sent": True},
            None,
            None,
            "w1",
        )
        first, second = record.history
        assert (first.number, first.at, first.ended_at, first.outcome) == (1, at(1), at(2), Outcome.RETRIED)
        assert (first.error, first.message, first.traceback) == ("ValueError", "boom", "Traceback …")
        assert (first.runtime, first.due_at, first.worker) == (0.5, at(3), "w1")
        assert (second.number, second.at, second.outcome, second.error) == (2, at(4), Outcome.SUCCEEDED, None)

    @pytest.mark.parametrize("together", [True, False], ids=["one batch", "one by one"])
    def test_after_each_event(self, store: Store, together: bool) -> None:
        states = []
        for length in range(1, len(LIFE) + 1):
            record = tell(store, *LIFE[:length], together=together)
            states.append((record.state, record.attempts))
        assert states == [("queued", 0), ("running", 1), ("retrying", 1), ("running", 2), ("succeeded", 2)]

    def test_the_order_of_arrival_does_not_matter(self, store: Store) -> None:
        expected = replace(tell(store, *LIFE), history=[])
        # each event written by itself, in every order that there is
        orders = {f"order-{number}": order for number, order in enumerate(itertools.permutations(LIFE))}
        with store.begin(timeout=60) as connection:
            for job_id, order in orders.items():
                for event in order:
                    mine = event._replace(job=event.job._replace(job_id=job_id))
                    journal.jobs.write(connection, [journal.jobs.row(Record(mine))])
        for job_id, order in orders.items():
            found = journal.find_job(store, job_id)
            assert found == replace(expected, id=job_id), [type(event).__name__ for event in order]

    def test_many_jobs_in_one_batch(self, store: Store) -> None:
        expected = tell(store, *LIFE)
        ids = [f"job-{number}" for number in range(45)]  # rows for some whole statements, and some more
        lives = [event._replace(job=event.job._replace(job_id=job_id)) for event in LIFE for job_id in ids]
        tell(store, *lives)
        for job_id in ids:
            assert journal.find_job(store, job_id) == replace(expected, id=job_id)

    def test_a_late_event_of_the_web_process_takes_nothing_back(self, store: Store) -> None:
        record = tell(store, started(1, 1), succeeded(1, 2), enqueued(due=at(60)), together=False)
        assert (record.state, record.args, record.due_at) == (JobState.SUCCEEDED, "[7]", None)

    def test_an_error_stays_until_a_success(self, store: Store) -> None:
        events: list[JobEvent] = [enqueued(), started(1, 1), retrying(1, 2), started(2, 4)]
        assert tell(store, *events).error == {"error": "ValueError", "message": "boom"}
        assert tell(store, succeeded(2, 5)).error is None

    def test_a_delayed_job_says_until_when(self, store: Store) -> None:
        record = tell(store, enqueued(due=at(60)))
        assert (record.state, record.due_at) == (JobState.QUEUED, at(60))

    def test_a_job_that_was_buried_unrun_has_no_attempts(self, store: Store) -> None:
        record = tell(store, enqueued(), died(1, 1, Reason.REVOKED, runtime=None))
        assert (record.state, record.attempts, record.history) == (JobState.DEAD, 0, [])
        assert record.error == {"error": "ValueError", "message": "boom"}

    def test_an_attempt_whose_worker_died_stays_in_the_history(self, store: Store) -> None:
        record = tell(store, enqueued(), started(1, 1, "w1"), together=False)
        record = tell(store, started(1, 9, "w2"), succeeded(1, 10, worker="w2"))
        assert (record.state, record.attempts, record.worker) == (JobState.SUCCEEDED, 1, "w2")
        lost, done = record.history
        assert (lost.number, lost.worker, lost.ended_at) == (1, "w1", None)
        assert (done.number, done.worker, done.ended_at) == (1, "w2", at(10))

    def test_a_returned_job_is_queued_until_another_worker_takes_it(self, store: Store) -> None:
        returned = JobReturned(ref(1), at(2), "w1", "the worker stops")
        record = tell(store, enqueued(), started(1, 1, "w1"), returned)
        assert (record.state, record.worker, record.attempts) == (JobState.QUEUED, None, 1)
        assert (record.history[0].outcome, record.history[0].message) == (
            Outcome.RETURNED,
            "the worker stops",
        )
        # the next start arrives, and then once more the return
        record = tell(store, started(1, 3, "w2"), returned)
        assert (record.state, record.worker) == (JobState.RUNNING, "w2")

    def test_an_end_without_a_recorded_start_still_creates_an_attempt(self, store: Store) -> None:
        [attempt] = tell(store, succeeded(1, 5)).history
        assert (attempt.at, attempt.ended_at) == (at(4.5), at(5))

    def test_a_replay_begins_a_new_run_in_the_same_history(self, store: Store) -> None:
        tell(store, enqueued(), started(1, 1), died(1, 2))
        with store.begin() as connection:
            journal.record_replayed(connection, [ref(1)], at(10))
        record = journal.find_job(store, "j1")
        assert record is not None
        assert (record.state, record.run, record.attempts) == (JobState.QUEUED, 1, 0)
        assert (record.error, record.finished_at, record.args) == (None, None, "[7]")
        record = tell(store, started(1, 11, run=1), succeeded(1, 12, run=1))
        assert (record.state, record.run, record.attempts) == (JobState.SUCCEEDED, 1, 1)
        assert [(a.run, a.number, a.outcome) for a in record.history] == [(0, 1, "dead"), (1, 1, "succeeded")]

    def test_a_replay_that_is_recorded_after_its_job_ran_takes_nothing_back(self, store: Store) -> None:
        tell(store, enqueued(), started(1, 1), died(1, 2), started(1, 11, run=1), succeeded(1, 12, run=1))
        with store.begin() as connection:
            journal.record_replayed(connection, [ref(1)], at(10))
        record = journal.find_job(store, "j1")
        assert record is not None
        assert (record.state, record.run, record.attempts) == (JobState.SUCCEEDED, 1, 1)

    def test_an_event_of_the_run_before_does_not_disturb_the_next(self, store: Store) -> None:
        record = tell(store, started(1, 11, run=1), died(1, 2), together=False)
        assert (record.state, record.error) == (JobState.RUNNING, None)

    def test_a_forged_message_does_not_overflow_a_column(self, store: Store) -> None:
        huge = JobRef("j1", "t", "q", attempt=10**30, run=10**30)
        record = tell(store, JobStarted(huge, at(1), "w1"), JobSucceeded(huge, at(2), "w1", 1.0))
        assert record.state is JobState.SUCCEEDED

    def test_texts_that_databases_refuse(self, store: Store) -> None:
        failure = Failure("Bad\0Error", "half a pair: \ud800", "\0")
        died = JobDied(ref(1), at(2), "w\0", 0.1, failure, Reason.PERMANENT)
        record = tell(store, enqueued(), died)
        assert record.error == {"error": "Bad\ufffdError", "message": "half a pair: ?"}


def report(store: Store, seconds: float, done: int, attempt: int = 1) -> None:
    with store.begin() as connection:
        progress.write(connection, [Said(ref(attempt), at(seconds), done, 3, "")])


def of(done: int) -> dict[str, Any]:
    return {"done": done, "total": 3, "message": ""}


class TestProgress:
    def test_progress_may_come_before_the_start_is_written(self, store: Store) -> None:
        report(store, 1.5, 1)
        early = journal.find_job(store, "j1")
        assert early is not None
        assert (early.state, early.progress, early.progress_at) == (JobState.RUNNING, of(1), at(1.5))
        record = tell(store, enqueued(), started(1, 1))
        assert (record.task, record.progress) == ("mail.send", of(1))
        report(store, 2, 3)
        assert tell(store, succeeded(1, 2)).progress == of(3)

    def test_the_last_report_may_come_after_the_end(self, store: Store) -> None:
        tell(store, enqueued(), started(1, 1), succeeded(1, 3))
        report(store, 2.9, 3)
        assert tell(store).progress == of(3)

    def test_a_retry_begins_again(self, store: Store) -> None:
        tell(store, enqueued(), started(1, 1))
        report(store, 2, 1)
        assert tell(store, retrying(1, 3)).progress is None
        report(store, 2.9, 2)  # of the attempt that failed
        assert tell(store).progress is None
        report(store, 10, 1, attempt=2)
        assert tell(store).progress == of(1)

    def test_a_returned_job_begins_again(self, store: Store) -> None:
        tell(store, enqueued(), started(1, 1))
        report(store, 2, 1)
        assert tell(store, JobReturned(ref(), at(3), "w1", "it stops")).progress is None
        report(store, 2.9, 2)
        assert tell(store).progress is None
        report(store, 5, 1)  # it has started again, which nobody has written yet
        assert tell(store).progress == of(1)

    def test_a_late_retry_does_not_forget_the_progress_of_the_next_attempt(self, store: Store) -> None:
        report(store, 5, 2, attempt=2)
        assert tell(store, retrying(1, 3)).progress == of(2)


class TestLookingUp:
    def test_an_unknown_job(self, store: Store) -> None:
        assert journal.find_job(store, "nobody") is None
        assert JobRecord.unknown("nobody").as_dict() == {
            "id": "nobody", "task": None, "state": "unknown", "attempts": 0,
            "progress": None, "result": None, "error": None,
        }  # fmt: skip

    def test_what_a_client_sees(self, store: Store) -> None:
        assert tell(store, *LIFE).as_dict() == {
            "id": "j1", "task": "mail.send", "state": "succeeded", "attempts": 2,
            "progress": None, "result": {"sent": True}, "error": None,
        }  # fmt: skip
