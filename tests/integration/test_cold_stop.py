"""SIGQUIT, and Ctrl-C pressed twice: what runs is broken off, no job is lost, and the worker's log has no traceback."""

from __future__ import annotations

import signal
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
        for number, more in enumerate((1, 15, 40)):  # jobs run, end and begin
            before = len(ledger(system))
            worker = system.worker("--concurrency", "2", name=f"worker{number}")
            system.until(lambda: len(ledger(system)) >= before + more, 30, "too few end")  # noqa: B023
            worker.signal(signal.SIGQUIT)
            worker.popen.wait(30)
            assert "Traceback" not in worker.log
        system.worker("--concurrency", "2", name="last")
        system.until(lambda: len(ledger(system)) == JOBS, 60, "jobs are lost")
        assert not system.dead()
