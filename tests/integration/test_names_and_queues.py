"""Two workers on one host have different names, and a misspelt queue is reported."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from system import Process, System

HOST = socket.gethostname()


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"], indirect=True)
def test_two_workers_on_one_host_are_two_and_a_misspelt_queue_is_seen(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(NIGHTSHIFT_QUEUES="mail,other")
    web = system.web()
    first, named = _worker(system, "first"), _worker(system, "named", "--name", "mail@%h", "--queues", "mail")
    system.until_ready(first)
    second = _worker(system, "second")
    system.until_ready(second)
    system.until_ready(named)
    wanted = {f"worker@{HOST}", f"worker2@{HOST}", f"mail@{HOST}"}
    system.until(lambda: set(_names(system)) == wanted, 20, "not all are seen")
    assert all(_names(system).values())

    assert second.stop() == 0
    assert f"worker2@{HOST}" not in _names(system)
    assert system.cli("health", "--part", "workers").returncode == 0
    first.kill_tree()
    again = _worker(system, "again")
    system.until_ready(again)
    assert again.lines("worker.started", worker=f"worker@{HOST}"), (
        "the name of one that was killed is free at once"
    )

    for _ in range(2):
        system.enqueue("test.nap", "never", 0, queue="mial")
        system.enqueue("test.succeed", "some", queue="mail")
    system.until(lambda: "queue.unheard" in web.log, 10, "no warning")
    assert "no worker consumes 'mial'" in web.log
    assert "Did you mean 'mail'?" in web.log
    system.until(lambda: _ready(system).get("mial") == 2, 10, "stats does not show it")
    doctor = system.cli("doctor", "--json", ok=False)
    assert "2 jobs wait in 'mial' and no worker consumes it. Did you mean 'mail'?" in doctor.stdout
    assert web.log.count("queue.unheard") == 1, "once for a process"


@pytest.mark.parametrize("broker", ["rabbitmq"], indirect=True)
def test_two_workers_that_are_given_one_name(broker: Any, new_system: Callable[..., System]) -> None:
    """On RabbitMQ only one of them gets the remote control; the other one logs the reason."""
    system = new_system()
    system.worker("--concurrency", "1")
    second = _worker(system, "second", "--name", "worker@test")
    system.until(lambda: second.popen.poll() is not None, 40, "it goes on")
    (line,) = second.lines("worker.name_taken")
    assert "--name" in line["message"]


def _worker(system: System, log: str, *options: str) -> Process:
    command = [sys.executable, "-m", "flask", "jobs", "worker", "--concurrency", "1", *options]
    return system._worker(log, command, {}, wait=False)


def _names(system: System) -> dict[str, bool]:
    return {row["name"]: row["healthy"] for row in system.json("stats")["workers"]}


def _ready(system: System) -> dict[str, int]:
    return {row["queue"]: row["ready"] for row in system.json("stats")["queues"]}
