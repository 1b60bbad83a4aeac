"""Why a job waits: one sentence for each cause, decided from facts alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flask_nightshift.brokers.values import Place, Where
from flask_nightshift.domain.job import JobState, Outcome
from flask_nightshift.domain.record import AttemptRecord, JobRecord
from flask_nightshift.domain.relatives import Parts, Relative
from flask_nightshift.observe.waiting import Cause, Facts, InOutbox, Pace, why
from flask_nightshift.store.heartbeats import KnownTasks, WorkerRow

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
JOB = JobRecord("j1", "mail.send", "mail", JobState.QUEUED, enqueued_at=NOW - timedelta(minutes=1))
FREE = WorkerRow("w1", "host", 7, NOW, NOW, NOW, concurrency=2, queues=("mail",))
BUSY = replace(
    FREE,
    concurrency=1,
    busy=({"job_id": "j0", "task": "mail.digest", "started_at": NOW.timestamp() - 180, "time_limit": None},),
)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def job(**more: Any) -> JobRecord:
    return replace(JOB, **more)


def returned(message: str) -> AttemptRecord:
    return AttemptRecord(0, 1, at(-9), "w1", None, at(-8), Outcome.RETURNED, 0.1, None, message, None, None)


SENTENCES: dict[str, tuple[Cause, dict[str, Any], str]] = {
    "paused": (
        Cause.PAUSED,
        {"paused": "paused since 2026-11-27 11:00:00 UTC by ann: deploy", "workers": [FREE]},
        "The queue 'mail' is paused since 2026-11-27 11:00:00 UTC by ann: deploy.",
    ),
    "no worker at all": (
        Cause.NO_WORKER, {}, "No worker is alive, so none consumes its queue 'mail'.",
    ),
    "only a dead worker": (
        Cause.NO_WORKER, {"workers": [replace(FREE, problem="silent")]},
        "No worker is alive, so none consumes its queue 'mail'.",
    ),
    "a misspelt queue": (
        Cause.NO_WORKER, {"job": job(queue="mial"), "workers": [FREE]},
        "No live worker consumes its queue 'mial'. Did you mean 'mail'?",
    ),
    "an unknown task": (
        Cause.UNKNOWN_TASK, {"workers": [FREE], "known": {"w1": KnownTasks.of(["mail.sent", "mail.digest"])}},
        "No live worker of the queue 'mail' knows its task 'mail.send'. Did you mean 'mail.sent'?",
    ),
    "due": (
        Cause.DUE, {"job": job(due_at=at(90)), "workers": [FREE]},
        "It is due at 2026-11-27 12:01:30 UTC, in 90 s.",
    ),
    "a retry is due": (
        Cause.DUE, {"job": job(state=JobState.RETRYING, due_at=at(600)), "workers": [FREE]},
        "Its retry is due at 2026-11-27 12:10:00 UTC, in 10 min.",
    ),
    "the outbox, and the broker is away": (
        Cause.OUTBOX,
        {"job": job(state=JobState.UNKNOWN), "outbox": InOutbox(at(-30)), "broker_error": "refused."},
        "It waits in the outbox for 30 s, because the broker does not answer: refused.",
    ),
    "the outbox without a relay": (
        Cause.OUTBOX,
        {"job": job(state=JobState.UNKNOWN), "outbox": InOutbox(at(-30)), "relays": False, "workers": [FREE]},
        "It waits in the outbox for 30 s for a relay, and neither a worker nor Beat is alive to run one.",
    ),
    "the outbox": (
        Cause.OUTBOX,
        {"job": job(state=JobState.UNKNOWN), "outbox": InOutbox(at(-3)), "workers": [FREE]},
        "It waits in the outbox for 3 s for a relay, which publishes it within about 10 s.",
    ),
    "a relay has it": (
        Cause.OUTBOX,
        {"job": job(state=JobState.UNKNOWN), "outbox": InOutbox(at(-3), "w1"), "workers": [FREE]},
        "It waits in the outbox for 3 s; the relay of w1 publishes it.",
    ),
    "the broker is away": (
        Cause.BROKER_AWAY, {"broker_error": "refused.", "workers": [FREE]},
        "The broker does not answer, so no worker gets it: refused.",
    ),
    "replaced": (
        Cause.REPLACED, {"replaced_by": "j9", "workers": [FREE]},
        "The job j9 has replaced it as the unique job; a worker skips it when it meets it.",
    ),
    "another job has its key": (
        Cause.RETURNED,
        {"job": job(history=[returned("'k' is in progress: the job j0 does it; it waits for 2 s")]), "workers": [FREE]},
        "Its last attempt gave it back 8 s ago: 'k' is in progress: the job j0 does it; it waits for 2 s.",
    ),
    "the history is behind": (
        Cause.HISTORY_BEHIND, {"job": job(id="j0"), "workers": [BUSY]},
        "The worker w1 runs it already; the history is behind.",
    ),
    "the broker says that it has begun": (
        Cause.HISTORY_BEHIND, {"place": Place(Where.BEGUN), "workers": [FREE]},
        "A worker has begun it already; the history is behind.",
    ),
    "it is nowhere": (
        Cause.NOT_IN_BROKER, {"place": Place(Where.NOWHERE), "workers": [FREE]},
        "The broker does not have it: it ended and the history is behind, or its message was deleted or lost.",
    ),
    "quarantine on Redis": (
        Cause.QUARANTINE, {"place": Place(Where.READY, 2, unproven=True), "workers": [BUSY]},
        ("It came back from a worker that died. 2 jobs wait before it, and a job that may have killed its worker runs "
        "beside no other such job."),
    ),
    "quarantine on RabbitMQ": (
        Cause.QUARANTINE,
        {
            "job": job(state=JobState.RUNNING, worker="w0"),
            "place": Place(Where.UNKNOWN, 0, quarantined=2),
            "workers": [replace(FREE, name="w0", problem="not heard of for 20 s"), BUSY],
        },
        ("Its worker w0 is gone (not heard of for 20 s); a job that may have killed its worker waits in quarantine, "
        "where each worker runs one at a time: 2 jobs wait there."),
    ),
    "its worker died just now": (
        Cause.LOST_WORKER,
        {"job": job(state=JobState.RUNNING, worker="w0"), "place": Place(Where.BEGUN), "workers": [FREE]},
        "Its worker w0 is gone: the broker gives the job to another worker.",
    ),
    "taken": (
        Cause.TAKEN, {"place": Place(Where.TAKEN), "workers": [BUSY]},
        ("A worker has taken it and begins it as soon as it has room. The only worker of 'mail' is busy with 1 job, "
        "for the longest with mail.digest j0 (3 min)."),
    ),
    "busy": (
        Cause.BUSY,
        {"place": Place(Where.READY, 40), "workers": [BUSY, replace(BUSY, name="w2")], "pace": Pace(100, 200.0)},
        ("All 2 workers of 'mail' are busy with 2 jobs, for the longest with mail.digest j0 (3 min). About 40 jobs are "
        "before it, about 80 s as fast as its queue has moved of late."),
    ),
    "in line": (
        Cause.QUEUE, {"place": Place(Where.UNKNOWN, 12), "workers": [FREE]},
        "At most 11 jobs are before it; none of its queue ended in the last minutes.",
    ),
    "taken on RabbitMQ": (
        Cause.TAKEN, {"place": Place(Where.UNKNOWN, 0, quarantined=0), "workers": [FREE]},
        ("Its queue is empty: a worker has taken it, or could not run it and tries again within a minute, or the "
        "history is behind, or its message was deleted."),
    ),
    "postponed": (
        Cause.POSTPONED, {"place": Place(Where.DELAYED, due=at(60)), "workers": [FREE]},
        "A worker could not run it; it is tried again at 2026-11-27 12:01:00 UTC, in 60 s.",
    ),
    "an unknown task on RabbitMQ": (
        Cause.UNKNOWN_TASK,
        {"place": Place(Where.UNKNOWN, 0), "workers": [FREE], "known": {"w1": KnownTasks.of(["mail.sent"])}},
        "No live worker of the queue 'mail' knows its task 'mail.send'. Did you mean 'mail.sent'?",
    ),
    "next": (
        Cause.QUEUE, {"place": Place(Where.READY, 0), "workers": [FREE]}, "It is the next one of its queue.",
    ),
    "a chord": (
        Cause.CHORD,
        {
            "job": JobRecord("b1", "report.sum"),
            "parts": Parts(
                4, {JobState.SUCCEEDED: 1, JobState.RUNNING: 1, JobState.DEAD: 1},
                (Relative("p2", "report.part", JobState.RUNNING, worker="w1"),),
                (Relative("p3", "report.part", JobState.DEAD),),
            ),
        },
        ("It is the body of a chord and waits for 3 of 4 jobs: report.part p2, which runs on w1; 1 job that is not "
        "enqueued yet; report.part p3, which died, so the body does not run."),
    ),
    "a chain": (
        Cause.CHAIN,
        {
            "job": JobRecord("c2", "report.store"),
            "after": Relative("c1", "report.fetch", JobState.RETRYING, due_at=at(5)),
        },
        "It follows report.fetch c1, which is retried at 2026-11-27 12:00:05 UTC.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_each_cause_has_a_sentence(name: str) -> None:
    cause, known, sentence = SENTENCES[name]
    waiting = why(Facts(**{"now": NOW, "job": JOB, **known}))
    assert waiting is not None
    assert (waiting.reason.cause, waiting.reason.sentence) == (cause, sentence)


def test_every_cause_is_told() -> None:
    assert {cause for cause, _, _ in SENTENCES.values()} == set(Cause)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.DEAD, JobState.SKIPPED])
def test_a_job_that_has_ended_waits_for_nothing(state: JobState) -> None:
    assert why(Facts(now=NOW, job=job(state=state))) is None


def test_a_job_that_runs_waits_for_nothing() -> None:
    assert why(Facts(now=NOW, job=job(state=JobState.RUNNING, worker="w1"), workers=[FREE])) is None
    elsewhere = job(id="j0", state=JobState.RUNNING, worker="gone")
    assert why(Facts(now=NOW, job=elsewhere, workers=[BUSY])) is None


def test_what_else_would_keep_it_is_told() -> None:
    waiting = why(Facts(now=NOW, job=job(due_at=at(60)), paused="paused"))
    assert waiting is not None
    assert [each.cause for each in (waiting.reason, *waiting.also)] == [
        Cause.DUE, Cause.PAUSED, Cause.NO_WORKER,
    ]  # fmt: skip
    assert waiting.as_dict()["also"][1]["cause"] == "no_worker"


def test_a_worker_that_does_not_tell_its_tasks_may_know_the_task() -> None:
    old = replace(FREE, name="old")
    facts = Facts(now=NOW, job=JOB, workers=[FREE, old], known={"w1": KnownTasks.of(["other"])})
    assert why(facts) is None
    many = KnownTasks.of(f"{number:05}.{'x' * 90}" for number in range(1_000))
    assert not many.complete
    assert why(Facts(now=NOW, job=JOB, workers=[FREE], known={"w1": many})) is None
