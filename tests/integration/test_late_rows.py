"""Rows of ``NIGHTSHIFT_HISTORY=all`` that are written after their jobs have ended in a worker with ``failures``."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flask_nightshift import journal
from flask_nightshift.domain.events import JobEnqueued, JobStarted, JobSucceeded
from flask_nightshift.domain.job import JobRef, JobState, utcnow
from flask_nightshift.journal import Journal, earlier
from flask_nightshift.store import Store


def ref(job_id: str) -> JobRef:
    return JobRef(job_id, "mail.send", "mail", 1, None, utcnow() - timedelta(seconds=5))


def run(worker: Journal, job: JobRef) -> None:
    worker(JobStarted(job, utcnow(), "w:1", 0.1))
    worker(JobSucceeded(job, utcnow(), "w:1", 0.1))
    assert worker.flush(20)


def state(store: Store, job: JobRef) -> JobState | None:
    found = journal.find_job(store, job.job_id)
    return None if found is None else found.state


def test_a_job_whose_row_comes_after_its_end_does_not_stay_queued(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database_url)
    store.migrate()
    monkeypatch.setattr(earlier, "ASK_OFTEN", 0.0)
    web, worker = Journal(store, history="all"), Journal(store, history="failures")
    try:
        early, late, other = ref("early"), ref("late"), ref("other")
        web(JobEnqueued(early, utcnow()))
        web.flush(20)
        run(worker, early)
        assert state(store, early) is JobState.SUCCEEDED
        run(worker, late)
        assert state(store, late) is None
        web(JobEnqueued(late, utcnow() - timedelta(seconds=3)))
        web.flush(20)
        assert state(store, late) is JobState.QUEUED
        run(worker, other)
        assert state(store, late) is JobState.SUCCEEDED
        assert state(store, other) is None
    finally:
        web.close()
        worker.close()
        store.close()
