"""Real ``celery worker`` processes on Redis or Valkey, and the ledger of their jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from celery import Celery

from places import APPS
from servers import wait_for
from transport_support import TRANSPORT, Harness

QUEUE = "celery"


class Worker:
    """A ``celery worker`` process; a file contains its output."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._output = tempfile.NamedTemporaryFile(prefix="worker-", suffix=".log")  # noqa: SIM115 - lives on
        self.popen = subprocess.Popen(
            command,
            cwd=APPS,
            env=environment,
            start_new_session=True,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self.pid = self.popen.pid

    @property
    def log(self) -> str:
        """Its output so far."""
        return Path(self._output.name).read_text(errors="replace")

    def until_ready(self) -> Worker:
        """Wait until it consumes."""
        wait_for(lambda: " ready." in self.log or self.popen.poll(), 60, "the worker is not ready")
        assert " ready." in self.log, self.log
        return self

    def signal(self, number: int) -> None:
        """Send a signal to the process, not to its children."""
        self.popen.send_signal(number)

    def signal_all(self, number: int) -> None:
        """Send a signal to the process and all its children."""
        parent = psutil.Process(self.pid)
        for each in [*parent.children(recursive=True), parent]:
            each.send_signal(number)

    def stop(self, seconds: float = 90) -> int:
        """Send SIGTERM and wait; returns the exit code.

        A prefork child waits up to 30 seconds for its last results to be read (billiard).
        """
        self.popen.terminate()
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not stop:\n{self.log[-3000:]}") from None

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        if self.popen.poll() is None:
            parent = psutil.Process(self.pid)
            for each in [*parent.children(recursive=True), parent]:
                each.kill()
            self.popen.wait(10)

    def close(self) -> None:
        """Kill the process, whatever its state, and delete its log."""
        self.kill()
        self._output.close()


class Cluster:
    """Workers on a harness, and the ledger of their jobs.

    ``transport=None`` is kombu's own transport, for a stock producer; ``worker(stock=True)`` starts a stock worker.
    """

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.workers: list[Worker] = []
        self.app = self.producer(TRANSPORT)
        self.stock = self.producer(None)

    def producer(self, transport: str | None) -> Celery:
        """A Celery app that enqueues jobs and fetches results."""
        app = Celery(broker=self.harness.url, backend=self.harness.url, set_as_current=False)
        if transport:
            app.conf.broker_transport = transport
        app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 2}
        return app

    def enqueue(self, *names: str, stock: bool = False, **options: Any) -> list[str]:
        """Enqueue one job per name; returns their ids."""
        app = self.stock if stock else self.app
        args = [options.pop("seconds", 0.0)]
        return [app.send_task("work", [name, *args], **options).id for name in names]

    def worker(
        self,
        pool: str = "prefork",
        *more: str,
        concurrency: int = 2,
        prefetch: int = 4,
        stock: bool = False,
        **options: Any,
    ) -> Worker:
        """Start a worker; ``options`` are transport options."""
        command = [sys.executable, "-m", "celery", "-A", "transport_app", "worker", "-P", pool, "-l", "info"]
        environment = {
            **os.environ,
            "TRANSPORT_URL": self.harness.url,
            "TRANSPORT_PREFETCH": str(prefetch),
            "TRANSPORT": "" if stock else TRANSPORT,
            "TRANSPORT_OPTIONS": json.dumps(options),
        }
        worker = Worker(
            [*command, "-c", str(concurrency), "--without-gossip", "--without-mingle", *more], environment
        )
        self.workers.append(worker)
        return worker

    def started(self) -> Counter[str]:
        """The number of starts of each job."""
        return Counter(name.decode() for name in self.harness.redis.lrange("started", 0, -1))

    def finished(self) -> Counter[str]:
        """The number of successful ends of each job."""
        return Counter(name.decode() for name in self.harness.redis.lrange("finished", 0, -1))

    def wait(
        self, check: Callable[..., Any], seconds: float = 30, what: str = "the jobs did not get there"
    ) -> Any:
        """Wait until ``check()`` is true; returns its result."""
        return wait_for(check, seconds, what)

    def close(self) -> None:
        """End all workers and connections."""
        for worker in self.workers:
            worker.close()
        for app in (self.app, self.stock):
            app.close()
        self.harness.close()
