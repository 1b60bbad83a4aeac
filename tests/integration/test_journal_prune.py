"""What the database forgets, what it keeps, and that no sum changes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from flask_nightshift import config, journal
from flask_nightshift.events import JobEnqueued, JobEvent, JobStarted, JobSucceeded
from flask_nightshift.job import JobRef, utcnow
from flask_nightshift.journal import retention
from flask_nightshift.store import Store, heartbeats, tables

NOW = utcnow()


@pytest.fixture
def settings() -> config.Settings:
    app = Flask("shop")
    app.config.update(NIGHTSHIFT_KEEP_JOBS_DAYS=7)
    return config.load(app)


def tell(store: Store, *events: JobEvent, worker: str = "w") -> None:
    writer = journal.Journal(store, worker=worker)
    for event in events:
        writer(event)
    assert writer.flush(10)
    writer.close()


def ran(job_id: str, when: datetime) -> tuple[JobEvent, ...]:
    ref = JobRef(job_id, "t", "q", 1)
    return JobStarted(ref, when, "w", 0.1), JobSucceeded(ref, when, "w", 0.3)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_finished_jobs_go_with_their_attempts(
    store: Store, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CHUNK", 3)
    for number in range(8):
        tell(store, *ran(f"old{number}", ago(8)))
    tell(store, *ran("new", ago(6)))
    counts = journal.prune(store, settings, NOW)
    assert (counts["jobs"], counts["attempts"]) == (8, 8)
    assert journal.find_job(store, "old1") is None
    kept = journal.find_job(store, "new")
    assert kept is not None
    assert len(kept.history) == 1
    assert journal.prune(store, settings, NOW)["jobs"] == 0


def test_a_job_that_is_not_finished_is_kept_much_longer(store: Store, settings: config.Settings) -> None:
    tell(store, JobEnqueued(JobRef("waits", "t", "q", 1), ago(30)))
    tell(store, JobEnqueued(JobRef("delayed", "t", "q", 1), ago(60), due=ago(-1)))
    tell(store, JobEnqueued(JobRef("lost", "t", "q", 1), ago(60)))
    assert journal.prune(store, settings, NOW)["jobs"] == 1
    assert journal.find_job(store, "waits") is not None
    assert journal.find_job(store, "delayed") is not None
    assert journal.find_job(store, "lost") is None


def test_old_minutes_go_and_no_sum_changes(store: Store, settings: config.Settings) -> None:
    for days in (0, 1, 31, 32, 400):
        tell(store, *ran(f"j{days}", ago(days)), worker=f"w{days}")
    before = journal.totals(store)
    assert [row.count for row in before] == [5]
    assert journal.prune(store, settings, NOW)["totals"] == 3
    assert journal.totals(store) == before
    assert [row.count for row in journal.recent_totals(store, ago(500))] == [2]
    # the all-time rows of workers that are gone have become one
    with store.read() as connection:
        names = connection.execute(
            select(tables.totals.c.worker).where(tables.totals.c.minute == retention.ALL_TIME)
        ).scalars()
        assert set(names) == {"", "w0"}
    # one of them comes back, and the next prune folds again
    tell(store, *ran("back", ago(0)), worker="w400")
    journal.prune(store, settings, NOW + timedelta(days=2))
    assert [row.count for row in journal.totals(store)] == [6]
    assert journal.totals(store)[0].runtime_sum == pytest.approx(1.8)


def test_processes_that_are_long_gone(store: Store, settings: config.Settings) -> None:
    for name, days in (("gone", 2), ("here", 0)):
        moment = ago(days)
        heartbeats.beat(store, heartbeats.WorkerBeat(name, "h", 1, moment, moment, moment))
    tell(store, *ran("a", NOW))
    tell(store, *ran("b", NOW))
    with store.begin() as connection:
        first = connection.execute(select(tables.journals.c.id).limit(1)).scalar_one()
        connection.execute(
            update(tables.journals).where(tables.journals.c.id == first).values(written_at=ago(3))
        )
    counts = journal.prune(store, settings, NOW)
    assert (counts["workers"], counts["journals"]) == (1, 1)
    assert [row.name for row in heartbeats.workers(store, NOW)] == ["here"]
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.journals)).scalar() == 1
