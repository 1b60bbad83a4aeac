"""A time limit holds even if the connection to the broker is lost, or the broker itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery

from servers import Valkey
from system import System, running


def test_the_limit_of_a_job_that_was_running_when_the_connection_was_cut(
    valkey: Valkey, tmp_path: Path
) -> None:
    url = valkey.fresh_url()
    with running(tmp_path, url) as system, valkey.client(url) as client:
        worker = system.worker("--concurrency", "1")
        Celery(broker=url).send_task("test.hang_softly", ["it"])
        system.until(lambda: "begun" in system.events("it"), 30, "it does not begin")
        client.client_kill_filter(_type="normal", skipme=True)
        system.until(lambda: worker.lines("job.retrying"), 15, "it runs without a limit")
        assert worker.lines("job.retrying")[0]["error"].endswith("SoftTimeLimitExceeded")


@pytest.mark.parametrize("broker", ["valkey", "rabbitmq"], indirect=True)
def test_the_limits_of_a_job_while_the_broker_is_away(broker: Any, new_system: Callable[..., System]) -> None:
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "1")
    system.enqueue("test.hang", "it")
    system.until(lambda: "begun" in system.events("it"), 30, "it does not begin")
    (child,) = psutil.Process(worker.popen.pid).children()
    broker.stop()
    try:
        system.until(
            lambda: "ignored-the-soft-limit" in system.events("it"), 8, "it runs without a soft limit"
        )
        system.until(lambda: not child.is_running(), 8, "it runs without a hard limit")
        assert worker.log.count("died: SIGKILL") == 1
    finally:
        broker.ensure()
    system.until(lambda: system.events("it").count("begun") == 2, 60, "it is not tried again")
