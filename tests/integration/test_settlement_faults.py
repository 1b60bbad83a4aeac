"""An error between the end of an attempt and its settlement: the job is accounted for, and its slot is free."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from system import System

FATES: dict[str, tuple[str, list[Any]]] = {
    "succeed": ("test.succeed", []),
    "retry": ("test.flaky", [1]),
    "die": ("test.permanent", []),
    "kill": ("test.kill_child", [1]),
    "reject": ("test.turned_away", []),
}
COMMON = [
    ("begin", "succeed"),
    ("conclude", "succeed"),
    ("task_ready", "succeed"),
    ("acknowledge", "succeed"),
    ("emit", "succeed"),
    ("send_event", "succeed"),
    ("conclude", "retry"),
    ("ended", "retry"),
    ("next_attempt", "retry"),
    ("envelope", "retry"),
    ("step", "retry"),
    ("write", "retry"),
    ("{replace}", "retry"),
    ("conclude", "die"),
    ("burial", "die"),
    ("buried", "die"),
    ("{replace}", "die"),
    ("returned", "reject"),
]
OF_CHILDREN = [("decide", "kill"), ("step", "kill"), ("ended", "kill")]


@pytest.mark.parametrize(
    ("broker", "pool"),
    [
        ("valkey", "prefork"),
        ("valkey", "threads"),
        ("valkey", "solo"),
        ("valkey", "gevent"),
        ("rabbitmq", "prefork"),
    ],
    indirect=["broker"],
)
def test_an_error_at_any_step_of_a_settlement_is_survived(
    broker: Any, pool: str, new_system: Callable[..., System]
) -> None:
    system = new_system(FLASK_APP="injectapp")
    system.web()
    worker = system.worker("--concurrency", "1", "--pool", pool)
    inject = Path(f"{system.ledger}.inject")
    replace = "replace_amqp" if broker.__class__.__name__ == "RabbitMQ" else "replace"
    victims: dict[str, tuple[str, str, str]] = {}
    for step, fate in [*COMMON, *(OF_CHILDREN if pool == "prefork" else [])]:
        where, (task, arguments) = step.format(replace=replace), FATES[fate]
        victim, probe = uuid.uuid4().hex[:12], uuid.uuid4().hex[:12]
        inject.write_text(where)
        victims[victim] = step, fate, system.enqueue(task, victim, *arguments)
        system.until(lambda: not inject.exists(), 20, f"nothing was raised at {where} for {fate}")
        system.enqueue("test.succeed", probe)
        system.until(
            lambda who=probe: "done" in system.events(who), 20, f"{fate}, {where}: the slot is taken"
        )

    def ended() -> bool:
        dead = {letter["job_id"] for letter in system.dead()}
        return all("done" in system.events(who) or job_id in dead for who, (*_, job_id) in victims.items())

    system.until(ended, 30, "some are neither done nor dead")
    for who, (step, fate, _) in victims.items():
        if fate == "succeed":
            assert system.events(who).count("done") == 1, f"its body ran again after {step} had raised"
    reasons = {letter["job_id"]: letter for letter in system.dead()}
    died = {(step, fate) for _, (step, fate, job_id) in victims.items() if job_id in reasons}
    assert {("conclude", "die"), ("burial", "die"), ("buried", "die")} <= died
    assert ("next_attempt", "retry") in died
    letter = next(
        reasons[job_id] for step, fate, job_id in victims.values() if (step, fate) == ("ended", "retry")
    )
    assert letter["error"] == "ConnectionError", "the real error is lost"
    assert "injected at ended" in letter["message"]
    assert worker.popen.poll() is None


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_a_failed_acknowledgement_affects_no_other_job(
    broker: Any, new_system: Callable[..., System]
) -> None:
    """For example, of a job whose connection was lost, while its worker already has a new one."""
    system = new_system(FLASK_APP="injectapp")
    system.web()
    worker = system.worker("--concurrency", "2")
    inject = Path(f"{system.ledger}.inject")
    system.enqueue("test.nap", "running", 4)
    system.until(lambda: "begun" in system.events("running"), 20, "it does not begin")
    inject.write_text("ack")
    system.enqueue("test.succeed", "unlucky")
    system.until(lambda: not inject.exists(), 20, "it is not acknowledged")
    system.until(lambda: "done" in system.events("running"), 20, "it does not end")
    system.enqueue("test.succeed", "last")
    system.until(lambda: "done" in system.events("last"), 20, "the worker takes no jobs any more")
    assert system.events("running").count("begun") == 1
    assert worker.lines("job.unacknowledged")
