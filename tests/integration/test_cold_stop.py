"""SIGQUIT, and Ctrl-C pressed twice: what runs is broken off, no job is lost, and the worker's log has no traceback."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from aheads import enqueue, ledger
from system import running

JOBS = 400


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"])
def test_a_cold_stop_loses_no_job(request: pytest.FixtureRequest, tmp_path: Path, broker: str) -> None:
    server: Any = request.getfixturevalue(broker)
    with running(tmp_path, server.fresh_url(), FLASK_APP="aheadapp") as system:
        enqueue(system, JOBS, dict.fromkeys(range(JOBS), 0.02))
        for number, wait in enumerate((0.1, 0.4, 0.7)):  # jobs run, end and begin
            worker = system.worker("--concurrency", "2", name=f"worker{number}")
            system.until(lambda: worker.lines("job.succeeded"), 30, "none ends")  # noqa: B023
            time.sleep(wait)
            worker.signal(signal.SIGQUIT)
            worker.popen.wait(30)
            assert "Traceback" not in worker.log
        system.worker("--concurrency", "2", name="last")
        system.until(lambda: len(ledger(system)) == JOBS, 60, "jobs are lost")
        assert not system.dead()
