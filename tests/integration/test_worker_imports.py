"""A worker imports nothing that only commands, web endpoints and migrations need, and its children share its memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from imports import NEVER_IN_A_WORKER, loaded
from servers import RabbitMQ
from system import System

ENQUEUE = "import importsapp; app = importsapp.create_app(); print(importsapp.child.delay().id)"


def test_modules_of_the_main_process_and_of_a_child(broker: Any, new_system: Callable[..., System]) -> None:
    never = (*NEVER_IN_A_WORKER, "redis") if isinstance(broker, RabbitMQ) else NEVER_IN_A_WORKER
    system = new_system(FLASK_APP="importsapp")
    worker = system.worker("--concurrency", "1")
    for number in range(2):  # the second one ends when the history of the first is written
        job = system.python(ENQUEUE).strip()
        system.until(lambda job=job: _state(system, job) == "succeeded", 30, "the job has not succeeded")
        system.until(lambda n=number: len(system.events("main")) > n, 10, "the worker has written nothing")
    for process in ("main", "child"):
        modules = system.events(process)[-1].split()
        assert "flask_nightshift.worker.consumer" in modules
        assert loaded(never, modules) == []
    assert worker.stop() == 0


@pytest.mark.parametrize("broker", ["redis_server"], indirect=True)
def test_objects_are_frozen_before_the_pool_forks(broker: Any, new_system: Callable[..., System]) -> None:
    """Celery collects garbage before each fork, which writes to every object that is not frozen."""
    system = new_system(FLASK_APP="importsapp")
    worker = system.worker("--concurrency", "2")
    forks = [tuple(map(int, told.split())) for told in system.events("fork")]
    assert len(forks) == 2
    for frozen, others in forks:
        assert frozen > 20 * others
    assert worker.stop() == 0


def _state(system: System, job: str) -> str:
    done = system.cli("show", job, "--json", ok=False)
    return str(json.loads(done.stdout)["state"]) if done.returncode == 0 else ""
