"""``flask jobs pause`` and ``resume``, and where a pause is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.domain.job import utcnow
from flask_nightshift.domain.orders import Pause
from flask_nightshift.operations.pauses import operator
from opsapp import Ops, opened_on


@pytest.fixture(params=["valkey", "rabbitmq"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    with opened_on(request, tmp_path) as made:
        made.all_well()
        yield made


def test_a_pause_is_seen_wherever_one_looks(ops: Ops) -> None:
    ops.json("pause", "mail", "--reason", "the server moves")
    job = ops.send.delay(1)
    ops.services.journal.flush(5)

    said = f"by {operator()}: the server moves"
    assert said in ops.ok("show", job.id)
    assert ops.json("show", job.id)["queue_paused"]["reason"] == "the server moves"
    assert [row["queue"] for row in ops.json("stats")["paused"]] == ["mail"]
    assert "paused since" in ops.ok("stats")
    assert said in ops.ok("health")
    assert said in ops.get("/health/ready").get_json()["parts"]["queues"]["detail"]
    assert ops.get("/health/ready").status_code == 200
    metrics = ops.get("/metrics").text
    assert 'nightshift_queue_paused{queue="mail"} 1.0' in metrics
    assert 'nightshift_queue_paused{queue="celery"} 0.0' in metrics
    assert said in " ".join(ops.run("doctor").output.split())

    ops.ok("resume", "mail")
    assert ops.json("show", job.id)["queue_paused"] is None
    assert ops.json("stats")["paused"] == []
    assert "none is paused" in ops.ok("health")
    assert 'nightshift_queue_paused{queue="mail"} 0.0' in ops.get("/metrics").text
    assert said not in ops.run("doctor").output


def test_what_was_paused_and_resumed_is_said(ops: Ops) -> None:
    assert ops.ok("pause", "mail", "--reason", "one") == "mail: paused\n"
    again = ops.ok("pause", "mail", "celery")
    assert again.splitlines()[0].startswith("mail: paused; it was paused since ")
    assert again.splitlines()[0].endswith(": one")
    assert again.splitlines()[1] == "celery: paused"
    assert ops.services.orders.pauses()["mail"].reason is None
    resumed = ops.json("resume", "--all")
    assert [(each["queue"], each["paused"]) for each in resumed] == [("celery", None), ("mail", None)]
    assert ops.ok("resume", "mail") == "mail: is not paused\n"
    assert ops.ok("resume", "--all") == "No queue is paused.\n"
    assert [each["queue"] for each in ops.json("pause", "--all")] == ["celery", "mail"]


def test_an_unknown_queue_is_paused_with_a_warning(ops: Ops) -> None:
    done = ops.run("pause", "mial")
    assert done.exit_code == 0
    assert "names the queue 'mial'. Did you mean 'mail'?" in done.stderr
    assert [row["queue"] for row in ops.json("stats")["queues"]] == ["celery", "mail", "mial"]
    assert ops.run("resume", "mial").exit_code == 0
    missed = ops.run("resume", "zzz")
    assert missed.exit_code == 1
    assert "The queues are celery, mail." in missed.stderr


@pytest.mark.parametrize(
    "words", [("x" * 201,), ("nightshift.dead",), ("mail", "--reason", "y" * 501), (), ("a", "--all")]
)
def test_what_cannot_be_paused_is_refused_by_name(ops: Ops, words: tuple[str, ...]) -> None:
    assert ops.run("pause", *words).exit_code != 0
    assert ops.services.orders.pauses() == {}


def test_the_doctor_names_workers_that_ignore_pauses_and_forgotten_pauses(ops: Ops) -> None:
    def found() -> list[dict[str, Any]]:
        return [each for each in json.loads(ops.run("doctor", "--json").stdout) if each["check"] == "pauses"]

    assert found() == []
    ops.worker_seen("old@two", heard=None, version="0.1.0")
    (warning,) = found()
    assert warning["level"] == "warning"
    assert "old@two (0.1.0)" in warning["message"]
    ops.services.orders.pause(Pause("mail", utcnow() - timedelta(days=2), "ada@web", None))
    forgotten, error = found()
    assert (forgotten["level"], error["level"]) == ("warning", "error")
    assert "flask jobs resume mail" in forgotten["remedy"]


def test_waiting_for_a_quiet_queue_names_each_worker_that_may_run_its_jobs(ops: Ops) -> None:
    ops.ok("pause", "mail", "--wait", "0")
    busy = [{"job_id": "j", "task": "t", "started_at": 1.0, "time_limit": None}]
    ops.worker_seen("old@two", heard=None, busy=busy)
    ops.worker_seen("deaf@two", heard=1, in_hand={})
    ops.worker_seen("full@two", heard=2**60, in_hand={"mail": 2, "celery": 1})
    ops.worker_seen("new@two", heard=2**60, in_hand={"celery": 1})
    waited = ops.run("pause", "mail", "--wait", "0", "--json")
    assert (waited.exit_code, json.loads(waited.stdout)[0]["queue"]) == (1, "mail")
    assert waited.stderr.splitlines() == [
        "deaf@two has not heard of the pause yet",
        "full@two holds 2 jobs",
        "new@two has yet to confirm that it holds no job",
        "old@two runs 1 job, and its version does not tell of which queues",
        "The queues are paused, but after 0 s not quiet yet.",
    ]
