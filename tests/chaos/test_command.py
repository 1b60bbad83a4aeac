"""The command behind ``make chaos`` as a process: its table, its exit code, and its clean-up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import redis

from places import ROOT, python_path
from servers import wait_for

ALONE = (sys.executable, "-m", "chaos")


def chaos(folder: Path, command: Sequence[str] = ALONE, **parameters: str) -> subprocess.Popen[str]:
    """Start the command; its temporary files, and those of its children, go to ``folder``."""
    environment = {**os.environ, "PYTHONPATH": python_path(), "TMPDIR": str(folder), **parameters}
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def left_in(folder: Path) -> list[str]:
    """The processes that have their temporary files in ``folder``."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("TMPDIR", "").startswith(str(folder))
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_a_run_prints_its_table_and_leaves_nothing(tmp_path: Path) -> None:
    make = ("make", "--silent", f"--old-file={sys.prefix}/.test", "chaos", f"VENV={sys.prefix}")
    process = chaos(tmp_path, make, JOBS="20", KILLS="1", BROKERS="valkey", FAULTS="child-kill")
    said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    [line] = [line for line in said.splitlines() if line.startswith("child-kill")]
    assert line.split()[1:5] == ["valkey", "1", "20", "0"]
    assert line.endswith("ok")
    assert left_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_stolen_job_is_named_and_the_exit_code_says_it(tmp_path: Path) -> None:
    """The check can fail: here a client removes a job from its queue."""
    process = chaos(tmp_path, JOBS="400", KILLS="1", BROKERS="valkey", FAULTS="worker-tree-kill")
    stolen = steal(wait_for(lambda: broker_of(tmp_path), 120, "no worker was started"))
    said, _ = process.communicate(timeout=170)
    assert process.returncode == 1, said
    [line] = [line for line in said.splitlines() if line.startswith("worker-tree-kill")]
    assert line.endswith("BROKEN")
    assert f"lost: {stolen}\n" in said


def broker_of(folder: Path) -> str | None:
    """The URL of the broker that the workers of a run have."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environment = process.environ()
            if environment.get("TMPDIR", "").startswith(str(folder)) and "CHAOS_LEDGER" in environment:
                return environment["NIGHTSHIFT_BROKER_URL"]
    return None


def steal(broker_url: str) -> str:
    """Remove one job from the queue; returns its id."""
    with redis.Redis.from_url(broker_url) as client:
        raw = wait_for(lambda: client.lpop("celery"), 60, "no job waits")
    job_id: str = json.loads(raw)["headers"]["id"]
    return job_id


def test_stock_celery_is_measured_by_the_same_harness(tmp_path: Path) -> None:
    process = chaos(tmp_path, JOBS="20", KILLS="1", BROKERS="valkey", FAULTS="child-kill", STOCK="1")
    said, _ = process.communicate(timeout=170)
    assert process.returncode == 0, said
    assert "stock Celery" in said
    assert [line.split()[2:4] for line in said.splitlines() if line.startswith("child-kill")] == [["1", "20"]]
    assert left_in(tmp_path) == []


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    process = chaos(tmp_path, JOBS="100000", KILLS="1", BROKERS="valkey", FAULTS="worker-term")
    wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob("*/*/ledger")), 120, "no job has run")
    assert len(left_in(tmp_path)) > 4, "it, a server, and workers with their children"
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert left_in(tmp_path) == []
    [kept] = tmp_path.iterdir()
    assert str(kept) in said


def test_a_wrong_parameter_is_refused_before_anything_starts(tmp_path: Path) -> None:
    process = chaos(tmp_path, FAULTS="gremlins")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "FAULTS='gremlins'" in said
    assert list(tmp_path.iterdir()) == []
