"""A time limit holds even if the connection to the broker is lost."""

from __future__ import annotations

from pathlib import Path

from celery import Celery

from servers import Valkey
from system import running


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
