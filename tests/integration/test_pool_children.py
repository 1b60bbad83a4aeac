"""The children of ``--pool prefork``: what Celery's users rely on in them, and when they are replaced."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path

import psutil
import pytest

from remote_control import remote_control
from servers import Valkey
from system import System, running

REPLACED = 155
"""Billiard's exit code of a child that is replaced."""


def test_children_have_numbers_signals_and_logs_of_their_own(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="childapp") as system:
        system.web()
        worker = system.worker("--concurrency", "2", "--max-jobs-per-child", "2")
        system.until(lambda: Counter(system.events("init")) == {"0": 1, "1": 1}, 20, "they do not begin")
        for number in range(4):
            system.until_state(system.enqueue("test.succeed", f"job-{number}"), "succeeded", 20)
        system.until(lambda: f"{REPLACED} True" in system.events("shutdown"), 20, "none is replaced")
        assert worker.stop() == 0
        assert "0 True" in system.events("shutdown")
        assert len(system.events("init")) == len(system.events("shutdown"))


def test_each_child_logs_to_a_file_of_its_own(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url()) as system:
        system.web()
        logs = tmp_path / "worker-%i.log"
        system.celery_worker("-P", "prefork", "-c", "2", "--logfile", str(logs), name="logging", wait=False)
        system.until_state(system.enqueue("test.succeed", "it"), "succeeded", 40)
        assert {"worker-0.log", "worker-1.log", "worker-2.log"} <= {path.name for path in tmp_path.iterdir()}


def test_a_child_that_does_not_get_ready_is_replaced(valkey: Valkey, tmp_path: Path) -> None:
    settings = json.dumps({"worker_proc_alive_timeout": 1.0})
    with running(
        tmp_path, valkey.fresh_url(), FLASK_APP="childapp", SLOW_START="1", NIGHTSHIFT_CELERY=settings
    ) as system:
        system.web()
        worker = system.worker("--concurrency", "1")
        system.until_state(system.enqueue("test.succeed", "it"), "succeeded", 20)
        assert "does not get ready" in worker.log


def test_a_worker_stops_if_its_children_cannot_start(valkey: Valkey, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="childapp", BROKEN_START="1") as system:
        system.web()
        worker = system.worker("--concurrency", "2")
        system.enqueue("test.succeed", "it")
        assert worker.popen.wait(40) == 1
        assert "no child gets ready for jobs after 10 tries, so the worker stops" in worker.log
        assert 15 <= len(system.events("init")) <= 25
        assert "begun" not in system.events("it")
        assert system.json("stats")["queues"][0]["ready"] == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGQUIT])
def test_an_idle_child_that_is_told_to_end_sends_its_signal_and_is_replaced(
    valkey: Valkey, tmp_path: Path, signum: int
) -> None:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="childapp") as system:
        system.web()
        worker = system.worker("--concurrency", "1")
        system.until(lambda: system.events("init"), 20, "it does not begin")
        (child,) = psutil.Process(worker.popen.pid).children()
        child.send_signal(signum)
        system.until(lambda: f"{int(signum)} True" in system.events("shutdown"), 20, "it does not leave")
        system.until_state(system.enqueue("test.succeed", "it"), "succeeded", 20)
        assert system.events("it").count("begun") == 1
        assert worker.stop() == 0


def test_children_are_replaced_when_they_are_too_large_or_the_pool_is_restarted(
    valkey: Valkey, tmp_path: Path
) -> None:
    settings = {"worker_pool_restarts": True}
    with remote_control(tmp_path, valkey.fresh_url(), **settings) as control:
        control.system.worker("--concurrency", "2")
        before = set(control.ask("stats")["pool"]["processes"])
        (held,) = control.hold(1)
        assert "ok" in control.ask("pool_restart")
        control.until(
            lambda: len(before - set(control.ask("stats")["pool"]["processes"])) == 1, "none is replaced"
        )
        held.go_on()
        held.ran_once()
        control.until(
            lambda: not before & set(control.ask("stats")["pool"]["processes"]), "one is not replaced"
        )
        control.send("succeed").ran_once()
        _leave_at_once(control.system)
        jobs = [control.send("pid", queue="large") for _ in range(4)]
        control.until(lambda: all(job.state == "succeeded" for job in jobs), "they do not succeed")
        assert len({job.events[0] for job in jobs}) == 4


def _leave_at_once(system: System) -> None:
    small = json.dumps({"worker_max_memory_per_child": 1})
    system.worker("--concurrency", "2", "--queues", "large", name="large", NIGHTSHIFT_CELERY=small)
