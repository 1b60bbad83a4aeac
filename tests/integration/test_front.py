"""What the first page shows: trends, deploys, ages of queues from the history, and the verdict."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from flask_nightshift import journal
from flask_nightshift.domain.events import JobEnqueued, JobEvent, JobRetrying, JobStarted
from flask_nightshift.domain.job import Failure, JobRef, Outcome, utcnow
from flask_nightshift.journal import batch as batches
from flask_nightshift.journal.following import Open
from flask_nightshift.journal.tally import Tally
from flask_nightshift.observe import bounded_calls, queues, trends
from flask_nightshift.observe.front import front
from flask_nightshift.observe.trends import Period
from flask_nightshift.observe.verdict import Tone
from flask_nightshift.store import Store, deploys, heartbeats
from flask_nightshift.store.tables import facts, workers
from opsapp import Ops, opened
from servers import Valkey, wait_for

NOW = utcnow().replace(minute=7, second=30, microsecond=0)
FRESH = NOW - heartbeats.FRESH


@pytest.mark.parametrize("period", Period)
def test_a_trend_has_every_attempt_of_the_period_once(store: Store, period: Period) -> None:
    lottery, shape = random.Random(17), trends.SHAPES[period]
    tally, made = Tally(), []
    for _ in range(400):
        at = NOW - timedelta(seconds=lottery.uniform(1, 1.5 * shape.length.total_seconds()))
        outcome = lottery.choice(
            (Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.DEAD, Outcome.RETRIED, Outcome.SKIPPED)
        )
        tally.add(
            at,
            lottery.choice("ab"),
            lottery.choice("qr"),
            outcome,
            lottery.uniform(0, 9),
            lottery.uniform(0, 1),
        )
        made.append((at, outcome))
    with store.begin() as connection:
        journal.add_totals(connection, tally.rows("w:1"))
    journal.fold(store, NOW)
    found = trends.trend(store, period, NOW)
    assert found.points[0].at == found.since
    assert found.since <= NOW - shape.length + shape.step
    assert found.points[-1].at <= NOW < found.points[-1].at + shape.step
    assert all(
        later.at - one.at == shape.step for one, later in zip(found.points, found.points[1:], strict=False)
    )
    wanted = [outcome for at, outcome in made if at >= found.since]
    assert 100 < len(wanted) < 400
    for name, outcome in (
        ("succeeded", Outcome.SUCCEEDED),
        ("died", Outcome.DEAD),
        ("retried", Outcome.RETRIED),
    ):
        count = wanted.count(outcome)
        assert getattr(found.whole, name) == sum(getattr(point, name) for point in found.points) == count
    assert found.whole.ended == len(wanted)
    for point in found.points:
        ended = sum(point.at <= at < point.at + shape.step for at, _ in made)
        assert point.ended == ended
        assert (point.runtime_p95 is None) == (ended == 0)
    assert found.whole.runtime_p50 == pytest.approx(4.5, abs=1)
    assert found.whole.wait_p95 == pytest.approx(0.95, abs=0.1)
    assert found.as_dict()["whole"]["ended"] == len(wanted)


def test_the_first_look_at_one_period_has_the_others_computed(ops: Ops) -> None:
    assert trends.kept(ops.services, Period.HOUR, timeout=10).ok
    calls = bounded_calls.of(ops.services)
    assert all(calls.was_asked(f"trend-{period}") for period in Period)
    wait_for(lambda: trends.kept(ops.services, Period.MONTH, timeout=0).ok, 10, "it is not computed")


def test_an_empty_history_has_an_empty_trend(store: Store) -> None:
    found = trends.trend(store, Period.HOUR, NOW)
    assert {point.ended for point in found.points} == {0}
    assert len(found.points) == 60
    assert found.whole.wait_p50 is found.whole.runtime_p95 is None


class TestDeploys:
    def starts(self, store: Store, worker: str, version: str, at: datetime) -> bool:
        found = deploys.note(store, worker, version, at, at - heartbeats.FRESH)
        beat = heartbeats.WorkerHeartbeat(worker, "host", 1, at, at, at, app_version=version)
        heartbeats.write(store, beat)
        return found

    def test_a_rolling_deploy_is_one_and_a_rollback_another(self, store: Store) -> None:
        told = [
            self.starts(store, worker, version, NOW + timedelta(seconds=seconds))
            for seconds, (worker, version) in enumerate(
                [("a1", "1"), ("a2", "1"), ("b1", "2"), ("a3", "1"), ("b2", "2"), ("b1", "2")]
            )
        ]
        assert told == [True, False, True, False, False, False]
        with store.begin() as connection:  # all of the old version are gone, and so is the new one
            connection.execute(update(workers).values(seen_at=NOW - timedelta(hours=1)))
        later = NOW + timedelta(hours=2)
        assert not self.starts(store, "b3", "2", later)
        assert self.starts(store, "a4", "1", later + timedelta(seconds=1))
        assert [deploy.version for deploy in deploys.since(store, NOW)] == ["1", "2", "1"]
        assert [deploy.version for deploy in deploys.since(store, later)] == ["1"]
        at = NOW + timedelta(hours=3)
        assert [deploy.version for deploy in trends.trend(store, Period.DAY, at).deploys] == ["1", "2", "1"]

    def test_only_the_latest_are_kept(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deploys, "KEPT", 3)
        for number in range(6):
            deploys.note(store, "w", f"v{number}", NOW + timedelta(minutes=number), NOW)
        with store.read() as connection:
            ours = select(facts.c.value).where(facts.c.name.startswith(deploys.DEPLOY))
            kept = connection.execute(ours.order_by(facts.c.at)).scalars().all()
        assert kept == ["v3", "v4", "v5"]


def write(store: Store, *events: JobEvent) -> None:
    batches.write(store, batches.Batch("j", "w:1", 1, len(events), Open().follow(events)))


def test_the_age_of_the_oldest_job_that_could_start_comes_from_the_history(store: Store) -> None:
    def ref(job_id: str, seconds: float, queue: str = "mail", **values: Any) -> JobRef:
        return JobRef(job_id, "a.mail", queue, 1, None, NOW - timedelta(seconds=seconds), **values)

    def ages() -> dict[str, float]:
        found = journal.oldest_ready(store, ["mail", "slow", "empty"], NOW)
        return {queue: (NOW - at).total_seconds() for queue, at in found.items()}

    assert ages() == {}
    jobs = {seconds: ref(f"job-{seconds}", seconds) for seconds in (90, 60, 30)}
    write(store, *(JobEnqueued(job, NOW) for job in jobs.values()), JobEnqueued(ref("other", 5, "slow"), NOW))
    assert ages() == {"mail": 90, "slow": 5}
    write(store, JobStarted(jobs[90], NOW, "w:1", 0.0))
    assert ages() == {"mail": 60, "slow": 5}
    delayed = JobEnqueued(ref("delayed", 500), NOW, due=NOW + timedelta(hours=1))
    due = JobEnqueued(ref("due", 400), NOW, due=NOW - timedelta(seconds=70))
    write(store, delayed, due)
    assert ages() == {"mail": 70, "slow": 5}
    failed = Failure("OSError", "it broke")
    write(store, JobRetrying(jobs[90], NOW, "w:1", 0.1, failed, NOW - timedelta(seconds=80), 1.0, 3))
    assert ages() == {"mail": 80, "slow": 5}


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def test_the_front_of_a_new_system_and_of_one_that_is_down(ops: Ops, valkey: Valkey) -> None:
    services = ops.services
    empty = front(services)
    assert (empty.verdict.tone, empty.verdict.sentence) == (Tone.QUIET, "Nothing has run here yet.")
    assert empty.trend is not None
    assert empty.dead_letters == empty.trend.whole.ended == 0

    now = utcnow()
    heartbeats.write(
        services.store, heartbeats.WorkerHeartbeat("w@h", "h", 1, now, now, now, queues=["mail"])
    )
    heartbeats.tick(services.store, "beat", now)
    with ops.app.app_context():
        ops.send.delay()
    bounded_calls.of(services).close()  # its answers are kept for a second
    seen = front(services, Period.DAY)
    assert seen.verdict.tone is Tone.GOOD, seen.verdict
    [row] = [queue for queue in seen.queues if queue.ready]
    assert (row.queue, row.workers, row.estimated) == ("mail", 1, False)
    assert seen.beats == ("beat",)

    valkey.stop()
    bounded_calls.of(services).close()
    down = front(services)
    assert (down.verdict.tone, down.workers is not None) == (Tone.BAD, True)
    assert down.verdict.sentence.startswith("The broker does not answer")
    assert {queue.ready for queue in queues.seen(services, ["mail"]).rows} == {None}
