"""Workers on a system that lacks something, and children that leave: no job is lost, and history has them all."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from servers import Valkey
from system import Process, System, running

LARGE = 8_000_000


@pytest.fixture
def system(valkey: Valkey, tmp_path: Path) -> Iterator[System]:
    with running(tmp_path, valkey.fresh_url(), FLASK_APP="leavingapp") as system:
        system.web()
        yield system


def worker_under(system: System, shell: str, *options: str) -> Process:
    """A worker that a shell starts after it has run the command ``shell``."""
    words = [sys.executable, "-m", "flask", "jobs", "worker", "--name", "worker@test", *options]
    return system._worker("worker", ["bash", "-c", f'{shell}; exec "$@"', "bash", *words], {}, True)


@pytest.mark.parametrize(
    ("leaves", "options"),
    [(True, ()), (False, ("--max-jobs-per-child", "1"))],
    ids=["the job raises SystemExit", "it has run its jobs"],
)
def test_history_has_the_jobs_that_a_child_enqueued_before_it_left(
    system: System, leaves: bool, options: tuple[str, ...]
) -> None:
    system.worker("--concurrency", "1", *options)
    system.enqueue("test.enqueue_more", "many", leaves)
    enqueued = system.until(
        lambda: len(found := system.events("many")) == 3 and found, 20, "none is enqueued"
    )
    for number, job_id in enumerate(enqueued):
        system.until_state(job_id, "succeeded")
        assert f"many-{number}" in str(system.json("show", job_id)["args"])


def test_a_worker_whose_sigchld_is_ignored(system: System) -> None:
    worker = worker_under(system, "trap '' CHLD", "--concurrency", "2")
    killed = system.enqueue("test.kill_child", "killed", 2)
    system.until_state(killed, "succeeded")
    assert system.events("killed") == ["begun", "begun", "begun", "done"]
    assert worker.stop() == 0


def test_a_worker_that_may_write_only_small_files_runs_large_jobs(system: System) -> None:
    worker = worker_under(system, "ulimit -f 5000", "--concurrency", "2")
    large = system.enqueue("test.fail_with_much", "large", "x" * LARGE)
    small = system.enqueue("test.succeed", "small")
    for job in (large, small):
        system.until_state(job, "succeeded")
    assert worker.stop() == 0


def test_a_retry_whose_report_the_worker_cannot_receive_comes_again(system: System) -> None:
    worker = system.worker("--concurrency", "1")
    job = system.enqueue("test.fail_with_much", "it")
    system.until(lambda: system.events("it"), 20, "it does not begin")
    pid = worker.popen.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    none = next(fd for fd in range(len(taken) + 1) if fd not in taken)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (none, before[1]))
    (system.folder / "ledger.it").touch()
    system.until(
        lambda: worker.lines("job.unsettled") or worker.lines("job.succeeded"), 20, "it does not end"
    )
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    system.until(lambda: len(system.events("it")) > 1, 20, "it does not run again")
    assert "could not be received" in worker.lines("job.retrying", job_id=job)[0]["error_message"]


def test_what_a_child_has_for_sentry_is_sent_before_it_leaves(system: System) -> None:
    seen: list[str] = []

    class Sentry(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(str(self.headers))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(0.2)  # so the child ends before the second message is sent, if it does not wait
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sentry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        dsn = f"http://key@127.0.0.1:{server.server_port}/1"
        system.worker("--concurrency", "1", "--max-jobs-per-child", "1", SENTRY_DSN=dsn)
        system.until_state(system.enqueue("test.report", "it"), "succeeded")
        system.until(lambda: len(seen) == 3, 10, "not all arrive")
    finally:
        server.shutdown()
        server.server_close()
