"""What the history says of jobs that were deleted with their queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from api_client import Api
from bulks import warm
from flask_nightshift import journal
from flask_nightshift.domain.events import JobEnqueued, JobStarted, JobSucceeded
from flask_nightshift.domain.job import JobRef, JobState, utcnow
from flask_nightshift.domain.record import JobRecord
from flask_nightshift.operations import purged, queues
from flask_nightshift.store import purges
from opsapp import Ops, opened_on

CANCELLED, QUEUED = JobState.CANCELLED, JobState.QUEUED


@pytest.fixture(
    params=["valkey", pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres])]
)
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    with opened_on(request, tmp_path) as made:
        warm(made)
        yield made


def enqueue(ops: Ops, count: int) -> list[str]:
    ids = [ops.send.delay(number).id for number in range(count)]
    ops.flush()
    return ids


def record(ops: Ops, job_id: str) -> JobRecord:
    ops.flush()
    found = journal.find_job(ops.services.store, job_id)
    assert found is not None
    return found


def states(ops: Ops, ids: list[str]) -> Counter[JobState]:
    return Counter(record(ops, job_id).state for job_id in ids)


def test_the_jobs_of_a_purged_queue_are_cancelled_and_no_others(ops: Ops) -> None:
    gone = enqueue(ops, 30)
    later = ops.send.apply_async((1,), countdown=3600).id
    elsewhere = ops.send.apply_async((1,), queue="elsewhere").id
    ops.flush()
    ops.ok("purge", "mail", "--yes")
    after = enqueue(ops, 3)
    assert purged.mark_rest(ops.services) == 0
    assert states(ops, gone) == {CANCELLED: 30}
    assert states(ops, [*after, elsewhere]) == {QUEUED: 4}
    deletes_delayed = ops.services.broker.capabilities.lists_delayed
    assert record(ops, later).state is (CANCELLED if deletes_delayed else QUEUED)
    found = record(ops, gone[0])
    assert found.error == {"error": "purged", "message": "its queue was purged"}
    assert found.finished_at is not None
    assert len(ops.json("list", "state:cancelled error:purged")["jobs"]) == 30 + deletes_delayed


def test_the_api_does_the_same(ops: Ops) -> None:
    gone = enqueue(ops, 4)
    assert Api(ops.app).post("/queues/mail/purge", confirm="mail")["deleted"] == 4
    assert states(ops, gone) == {CANCELLED: 4}


def test_what_a_worker_holds_is_left_alone_and_a_mistake_mends_itself(ops: Ops) -> None:
    gone = enqueue(ops, 6)
    ops.worker_seen(in_hand={"mail": 2})
    queues.purge(ops.services, "mail")
    assert states(ops, gone[:2]) == {QUEUED: 2}
    assert states(ops, gone[2:]) == {CANCELLED: 4}
    # a worker of an older version, which does not say what it holds, begins one
    job = JobRef(gone[3], "mail.send", "mail", 1, None, utcnow())
    ops.services.events.emit(JobStarted(job, utcnow(), "w", 0.1))
    assert record(ops, gone[3]).state is JobState.RUNNING
    ops.services.events.emit(JobSucceeded(job, utcnow(), "w", 0.1))
    assert record(ops, gone[3]).state is JobState.SUCCEEDED
    assert record(ops, gone[3]).error is None


def test_the_retention_marks_the_rest_and_what_is_written_late(
    ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = enqueue(ops, 30)
    with monkeypatch.context() as patch:
        patch.setattr(purged, "SECONDS", 0.0)
        queues.purge(ops.services, "mail")
    assert states(ops, gone) == {QUEUED: 30}
    assert purged.mark_rest(ops.services) == 30
    assert states(ops, gone) == {CANCELLED: 30}
    before = utcnow() - timedelta(minutes=5)
    late, replayed = (
        JobRef(f"{name}-0123456789", "mail.send", "mail", 1, None, before) for name in ("late", "again")
    )
    for job in (late, replayed):
        ops.services.events.emit(JobEnqueued(job, before, "", "", None, None))
    ops.flush()
    with ops.services.store.begin() as connection:
        journal.record_replayed(connection, [replayed], utcnow())
    assert purged.mark_rest(ops.services) == 1
    assert record(ops, late.job_id).state is CANCELLED
    assert record(ops, replayed.job_id).state is QUEUED
    (noted,) = purges.noted(ops.services.store)
    purges.note(ops.services.store, noted.queue, noted.at - purged.NOTED)
    purged.mark_rest(ops.services)
    assert purges.noted(ops.services.store) == []
