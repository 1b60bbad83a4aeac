"""Retention: which records it deletes, which it keeps, and that no sum changes."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from flask_nightshift import journal
from flask_nightshift.config import settings as config
from flask_nightshift.dead_letters import archive
from flask_nightshift.domain.events import (
    JobDied,
    JobEnqueued,
    JobEvent,
    JobSkipped,
    JobStarted,
    JobSucceeded,
)
from flask_nightshift.domain.job import DeadLetter, Failure, JobRef, Reason, utcnow
from flask_nightshift.domain.relations import Announced, Relations
from flask_nightshift.journal import retention, steps, tally
from flask_nightshift.journal.tally import ALL_TIME
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


def ran(job_id: str, when: datetime, enqueued_at: datetime | None = None) -> tuple[JobEvent, ...]:
    """A job that ran; with ``enqueued_at``, its attempt needs no row."""
    ref = JobRef(job_id, "t", "q", 1, enqueued_at=enqueued_at)
    wait = (when - enqueued_at).total_seconds() if enqueued_at else 0.1
    return JobStarted(ref, when, "w", wait), JobSucceeded(ref, when, "w", 0.3)


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_finished_jobs_go_with_their_attempts(
    store: Store, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "FIRST", 3)
    for number in range(4):
        tell(store, *ran(f"old{number}", ago(8)), *ran(f"told{number}", ago(8), ago(8.1)))
    tell(store, *ran("new", ago(6)))
    counts = journal.prune(store, settings, NOW)
    assert (counts["jobs"], counts["attempts"]) == (8, 8)
    with store.read() as connection:
        assert connection.execute(select(tables.attempts.c.job_id)).scalars().all() == ["new"]
    assert journal.find_job(store, "old1") is None
    kept = journal.find_job(store, "new")
    assert kept is not None
    assert len(kept.history) == 1
    assert journal.prune(store, settings, NOW)["jobs"] == 0


def test_the_audit_is_kept_for_its_days_and_its_latest_actions(
    store: Store, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_AUDITED", 3)
    common = {"by": "ann", "action": "pause", "target": "mail", "outcome": "done"}
    bulk = {"action": "replay", "by": "ann", "total": 1, "acted": 0, "skipped": 0, "created_at": ago(400)}
    bulk |= {"filters": {}, "options": {}, "reasons": {}, "due_at": ago(400)}
    with store.begin() as connection:
        rows = [{"id": f"{days}", "at": ago(days), **common} for days in (400, 300, 3, 2, 1)]
        connection.execute(tables.audit.insert(), rows)
        ends = {"old": ago(366), "new": ago(364), "open": None}
        ended = [{"id": name, "state": "done", "ended_at": at, **bulk} for name, at in ends.items()]
        connection.execute(tables.bulk_actions.insert(), ended)
    counts = journal.prune(store, settings, NOW)
    assert (counts["audit"], counts["bulk_actions"]) == (2, 1)
    with store.read() as connection:
        left = {row.id for row in connection.execute(select(tables.audit.c.id))}
        assert left == {"1", "2", "3"}
        assert set(connection.execute(select(tables.bulk_actions.c.id)).scalars()) == {"new", "open"}


def test_relations_go_with_their_job(store: Store, settings: config.Settings) -> None:
    for job_id, days in (("old", 8), ("broken", 50), ("new", 6)):
        told = Relations("p", "p", announced=(Announced(f"after-{job_id}", "t", job_id),))
        ref = JobRef(job_id, "t", "q", 1, enqueued_at=ago(days))
        tell(store, JobEnqueued(ref, ago(days), relations=told), *ran(job_id, ago(days), ago(days)))
    counts = journal.prune(store, settings, NOW)
    assert (counts["jobs"], counts["announced"]) == (2, 1)
    with store.read() as connection:
        left = set(connection.execute(select(tables.relations.c.job_id)).scalars())
    assert left == {"new", "after-new", "after-old"}


def test_a_plain_celery_producers_job_keeps_its_relations(store: Store) -> None:
    started, succeeded = ran("child", ago(0), ago(0.1))
    assert isinstance(started, JobStarted)
    tell(store, started._replace(relations=Relations("parent", "root", "group", "body")), succeeded)
    family = journal.find_family(store, "child")
    assert family is not None
    assert family.this[3:7] == ("parent", "root", "group", "body")
    record = journal.find_job(store, "child")
    assert record is not None
    assert len(record.history) == 1


def test_each_state_has_its_own_time(store: Store) -> None:
    app = Flask("shop")
    app.config["NIGHTSHIFT_KEEP_JOBS_DAYS"] = {"succeeded": 1, "dead": 30}
    settings = config.load(app)
    for days in (2, 8, 31):
        tell(store, *ran(f"succeeded{days}", ago(days)))
        job, failure = JobRef(f"dead{days}", "t", "q", 1), Failure("OSError", "full")
        tell(store, JobDied(job, ago(days), "w", 0.1, failure, Reason.EXHAUSTED))
        tell(store, JobSkipped(JobRef(f"skipped{days}", "t", "q", 1), ago(days), "other", "why"))
        tell(store, JobEnqueued(JobRef(f"queued{days}", "t", "q", 1), ago(days)))
    for job_id, status in (("dead31", "waiting"), ("dead8", "replayed")):
        letter = DeadLetter(job_id, Reason.EXHAUSTED, ago(31), "q", job_id, "t", None, b"", "", "", {}, {})
        archive(store, [letter], worker="w", recorded=False)
        with store.begin() as connection:
            connection.execute(
                update(tables.dead_letters).where(tables.dead_letters.c.id == job_id).values(status=status)
            )

    def left() -> set[str]:
        with store.read() as connection:
            return set(connection.execute(select(tables.jobs.c.id)).scalars())

    journal.prune(store, settings, NOW)
    assert left() == {"dead2", "dead8", "dead31", "skipped2", "queued2", "queued8", "queued31"}
    with store.begin() as connection:
        connection.execute(update(tables.dead_letters).values(status="discarded"))
    journal.prune(
        store, settings, NOW + timedelta(days=30)
    )  # 30 days after the longest time: what never ended
    assert left() == {"queued2", "queued8"}
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.attempts)).scalar() == 0


def test_a_job_that_is_not_finished_is_kept_much_longer(store: Store, settings: config.Settings) -> None:
    tell(store, JobEnqueued(JobRef("waits", "t", "q", 1), ago(30)))
    tell(store, JobEnqueued(JobRef("delayed", "t", "q", 1), ago(60), due=ago(-1)))
    tell(store, JobEnqueued(JobRef("lost", "t", "q", 1), ago(60)))
    assert journal.prune(store, settings, NOW)["jobs"] == 1
    assert journal.find_job(store, "waits") is not None
    assert journal.find_job(store, "delayed") is not None
    assert journal.find_job(store, "lost") is None


def rows(store: Store, *columns: str) -> list[tuple[Any, ...]]:
    """The rows of totals but those for all time, oldest first."""
    table = tables.totals
    query = select(*(table.c[name] for name in columns)).where(table.c.minute > ALL_TIME)
    with store.read() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(table.c.minute, table.c.worker))]


def test_minutes_become_coarser_with_age_and_no_sum_changes(
    store: Store, settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "FIRST", 7)
    now = NOW.replace(hour=12, minute=30, second=20)

    def at(**before: float) -> datetime:
        return now - timedelta(**before)

    for worker in ("a", "b"):
        for minutes in (0, 5, 65, 66):
            tell(store, *ran(f"{worker}{minutes}", at(minutes=minutes)), worker=worker)
        for hours in (50, 50.2, 53):  # 10:30, 10:18 and 07:30, two days ago
            tell(store, *ran(f"{worker}h{hours}", at(hours=hours)), worker=worker)
        for days in (61, 61.1, 70, 731):
            tell(store, *ran(f"{worker}d{days}", at(days=days)), worker=worker)
    before = journal.totals(store)
    assert [row.count for row in before] == [22]
    recent = journal.recent_totals(store, at(minutes=10))
    for _ in range(2):  # the second time there is nothing to do
        pruned = journal.prune(store, settings, now)["totals"]
        found = rows(store, "minute", "worker", "count")
        assert found == [
            (at(days=70).replace(hour=0, minute=0, second=0, microsecond=0), "", 2),
            (at(days=61).replace(hour=0, minute=0, second=0, microsecond=0), "", 4),
            (at(hours=53).replace(minute=0, second=0, microsecond=0), "", 2),
            (at(hours=50).replace(minute=0, second=0, microsecond=0), "", 4),
            (at(minutes=66).replace(second=0, microsecond=0), "", 2),
            (at(minutes=65).replace(second=0, microsecond=0), "", 2),
            *((at(minutes=m).replace(second=0, microsecond=0), w, 1) for m in (5, 0) for w in "ab"),
        ]
        assert journal.totals(store) == before
        assert journal.recent_totals(store, at(minutes=10)) == recent
    assert pruned == 0
    # who was away for long counts what is long past: it is folded, too
    tell(store, *ran("late", at(hours=50)), worker="late")
    journal.prune(store, settings, now)
    assert rows(store, "count", "runtime_sum")[3] == (5, pytest.approx(1.5))
    assert sum(row[0] for row in rows(store, *tally.SUMS)) == 21
    assert [row.count for row in journal.totals(store)] == [23]
    assert sum(journal.totals(store)[0].wait_buckets) == 23


def test_folding_loses_nothing_while_workers_count(store: Store, settings: config.Settings) -> None:
    done = threading.Event()

    def fold() -> None:
        while not done.is_set():
            journal.prune(store, settings, NOW + timedelta(days=3))

    thread = threading.Thread(target=fold)
    thread.start()
    try:
        for number in range(60):
            tell(store, *ran(f"j{number}", NOW - timedelta(minutes=number % 3)), worker=f"w{number % 4}")
    finally:
        done.set()
        thread.join()
    assert [row.count for row in journal.totals(store)] == [60]
    assert sum(row[0] for row in rows(store, "count")) == 60


def test_all_time_rows_of_workers_that_are_gone_become_one(store: Store, settings: config.Settings) -> None:
    tell(store, *ran("a", ago(31)), worker="gone")
    with store.begin() as connection:
        connection.execute(update(tables.journals).values(written_at=ago(2)))
    tell(store, *ran("b", ago(0)), worker="here")

    def names() -> set[str]:
        query = select(tables.totals.c.worker).where(tables.totals.c.minute == ALL_TIME)
        with store.read() as connection:
            return set(connection.execute(query).scalars())

    journal.prune(store, settings, NOW)
    assert names() == {"", "here"}
    tell(store, *ran("back", ago(0)), worker="gone")
    assert names() == {"", "here", "gone"}
    journal.prune(store, settings, NOW + timedelta(days=2))
    assert names() == {""}
    assert [row.count for row in journal.totals(store)] == [3]
    assert journal.totals(store)[0].runtime_sum == pytest.approx(0.9)


def test_processes_that_are_long_gone(store: Store, settings: config.Settings) -> None:
    for name, days in (("gone", 2), ("here", 0)):
        moment = ago(days)
        heartbeats.write(store, heartbeats.WorkerHeartbeat(name, "h", 1, moment, moment, moment))
    tell(store, *ran("a", NOW))
    tell(store, *ran("b", NOW))
    with store.begin() as connection:
        first = connection.execute(select(tables.journals.c.id).limit(1)).scalar_one()
        connection.execute(
            update(tables.journals).where(tables.journals.c.id == first).values(written_at=ago(3))
        )
    far = NOW + timedelta(days=400)  # its clock was wrong once
    heartbeats.write(store, heartbeats.WorkerHeartbeat("ahead", "h", 1, far, far, far))
    for name, moment in (("old", ago(9)), ("last", ago(2)), ("ahead", far)):
        with store.begin() as connection:
            connection.execute(tables.beats.insert().values(name=name, ticked_at=moment))
    counts = journal.prune(store, settings, NOW)
    assert (counts["workers"], counts["journals"], counts["beats"]) == (2, 1, 2)
    with store.read() as connection:  # since when no Beat runs
        assert connection.execute(select(tables.beats.c.name)).scalars().all() == ["last"]
    assert [row.name for row in heartbeats.workers(store, NOW)] == ["here"]
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(tables.journals)).scalar() == 1
