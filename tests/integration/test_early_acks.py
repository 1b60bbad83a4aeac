"""Jobs of a task with ``acks_late=False``: acknowledged as they begin, and not lost while their worker lives."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from system import System

pytestmark = pytest.mark.parametrize("broker", ["valkey", "rabbitmq"], indirect=True)


def marker() -> str:
    return uuid.uuid4().hex[:12]


def test_its_retries_and_its_dead_letter_are_published(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "2")
    names = {how: marker() for how in ("fine", "hopeless", "reject", "kill")}
    ids = {
        "fine": system.enqueue("test.early", names["fine"], 2),
        "hopeless": system.enqueue("test.early", names["hopeless"], 100),
        "reject": system.enqueue("test.early_end", names["reject"], "reject"),
        "kill": system.enqueue("test.early_end", names["kill"], "kill"),
    }
    assert system.until_state(ids["fine"], "succeeded")["attempts"] == 3
    for how, attempts in (("hopeless", 3), ("kill", 2)):
        assert system.until_state(ids[how], "dead")["attempts"] == attempts
        assert system.events(names[how]).count("begun") == attempts
        assert len(worker.lines("job.retrying", job_id=ids[how])) == attempts - 1
        assert len(worker.lines("job.dead", job_id=ids[how])) == 1
    system.until(lambda: system.events(names["reject"]).count("begun") >= 3, 20, "it was not returned")
    assert len(worker.lines("job.returned", job_id=ids["reject"], attempt=1)) >= 2
    system.until(lambda: len(system.archived()) == 2, 20, "not all are dead letters")
    assert {letter["reason"] for letter in system.dead()} == {"exhausted"}
    assert system.events(names["fine"]) == ["begun", "fails", "begun", "fails", "begun", "done"]
    assert "callback raised" not in worker.log.lower()


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_every_job_runs_once_in_every_pool(broker: Any, new_system: Callable[..., System], pool: str) -> None:
    system = new_system()
    system.web()
    names = [marker() for _ in range(60)]
    failing = marker()
    for name in names:
        system.enqueue("test.early", name)
    job_id = system.enqueue("test.early", failing, 2)
    worker = system.worker("--pool", pool, "--concurrency", "2")
    system.until(lambda: "done" in system.events(failing), 40, "a failed one is not retried")
    system.until(lambda: all(system.events(name) for name in names), 40, "some never ran")
    system.until_state(job_id, "succeeded", 20)
    assert [system.events(name) for name in names] == [["begun", "done"]] * len(names)
    assert worker.lines("job.returned") == []
    assert "callback raised" not in worker.log.lower()


@pytest.mark.parametrize("how", ["stop", "freeze"])
def test_its_retry_outlives_the_connection(broker: Any, new_system: Callable[..., System], how: str) -> None:
    """The broker does not redeliver its message."""
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "1")
    who = marker()
    job_id = system.enqueue("test.early", who, 1, 3)
    system.until(lambda: worker.lines("job.started", job_id=job_id), 20, "it does not begin")
    getattr(broker, how)()
    system.until(lambda: "fails" in system.events(who), 20, "it does not end")
    if how == "freeze":
        system.until(lambda: worker.lines("job.unsettled", job_id=job_id), 30, "the worker did not notice")
    getattr(broker, {"stop": "start", "freeze": "thaw"}[how])()
    system.until(lambda: "done" in system.events(who), 100, "the retry is lost")
    assert system.events(who) == ["begun", "fails", "begun", "done"]


def test_an_attempt_cut_off_by_the_end_of_its_worker_is_retried(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(NIGHTSHIFT_STOP_GRACE="1")
    system.web()
    worker = system.worker("--concurrency", "1")
    who = marker()
    job_id = system.enqueue("test.early", who, 0, 20)
    system.until(lambda: system.events(who), 20, "it does not begin")
    assert worker.stop() == 0
    assert worker.lines("job.retrying", job_id=job_id)
    system.worker("--concurrency", "1", name="successor")
    system.until(lambda: system.events(who).count("begun") == 2, 20, "it was lost")
