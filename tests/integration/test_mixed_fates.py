"""200 jobs with every kind of ending on every broker: each ends as a success or a dead letter with its reason."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from kombu import Connection

from system import System

PLAN = {  # what to enqueue, how many, and the reason in the dead-letter queue (None: it succeeds)
    "succeed": (110, None),
    "flaky": (30, None),
    "kill_child": (8, None),
    "permanent": (20, "permanent"),
    "hang": (6, "exhausted"),
    "unpicklable": (8, "exhausted"),
    "unknown": (8, "unknown_task"),
    "garbage": (5, "undecodable"),
    "misshapen": (5, "invalid"),
}
ARGUMENTS: dict[str, list[Any]] = {"flaky": [2], "kill_child": [1]}


def test_two_hundred_jobs_with_mixed_endings_are_accounted_for(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(NIGHTSHIFT_UNKNOWN_TASK_WAIT="3")
    system.web()
    system.worker("--concurrency", "4")
    wanted = [fate for fate, (count, _) in PLAN.items() for _ in range(count)]
    assert len(wanted) == 200
    random.Random(7).shuffle(wanted)

    sent: dict[str, tuple[str, str]] = {}  # job id -> fate, marker
    for fate in wanted:
        who = uuid.uuid4().hex[:12]
        if fate == "garbage":
            job_id = post_raw(system, b"\xff\xfe not json", {"id": who, "task": "test.succeed"})
        elif fate == "misshapen":
            job_id = post_raw(system, b'{"surprise": 1}', {"id": who, "task": "test.succeed"})
        else:
            job_id = system.enqueue(f"test.{fate}", who, *ARGUMENTS.get(fate, []))
        sent[job_id] = (fate, who)

    doomed = {job_id for job_id, (fate, _) in sent.items() if PLAN[fate][1]}
    alive = {job_id: who for job_id, (fate, who) in sent.items() if not PLAN[fate][1]}
    system.until(lambda: len(system.archived()) >= len(doomed), 90, "dead letters are missing")
    system.until(
        lambda: all("done" in system.events(who) for who in alive.values()), 90, "successes are missing"
    )

    letters = {letter["job_id"]: letter["reason"] for letter in system.dead()}
    assert letters == {job_id: PLAN[fate][1] for job_id, (fate, _) in sent.items() if PLAN[fate][1]}
    ends = Counter(system.events(who).count("done") for who in alive.values())
    assert ends == {1: len(alive)}, "every job that succeeds does so once while all workers live"
    for job_id in alive:
        assert system.until_state(job_id, "succeeded", 10)


def post_raw(system: System, body: bytes, headers: dict[str, Any]) -> str:
    """Put bytes into the default queue as a stranger would, past Nightshift."""
    url = system.env["NIGHTSHIFT_BROKER_URL"]
    with Connection(url) as connection, connection.Producer() as producer:
        producer.publish(
            body, exchange="", routing_key="celery", headers=headers, content_type="application/json",
            content_encoding="utf-8", serializer=None,
        )  # fmt: skip
    return str(headers["id"])
