"""A job that stands in the children's queue, and that no child has started: it runs once and is settled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery

from servers import Valkey
from system import Process, System, running


class Case:
    """A worker with two suspended children, and a job in their queue."""

    def __init__(self, system: System, client: Any, url: str) -> None:
        self.system, self.client = system, client
        self.worker: Process = system.worker("--concurrency", "2", "--log-level", "DEBUG")
        self._children = psutil.Process(self.worker.popen.pid).children()
        for child in self._children:
            child.suspend()
        Celery(broker=url).send_task("test.succeed", ["it"])
        self.until(lambda: "TaskPool: Apply" in self.worker.log, "it is not given to a child")

    def go_on(self) -> None:
        for child in self._children:
            child.resume()

    def until(self, check: Callable[[], Any], what: str) -> None:
        self.system.until(check, 60, what)

    def ran_once(self) -> None:
        self.until(lambda: "done" in self.system.events("it"), "it does not run")
        self.until(lambda: not self.client.exists("nightshift:leased"), "it is not settled")
        assert not self.client.llen("celery"), "it came back"
        assert self.system.events("it").count("begun") == 1
        self.until(lambda: self.worker.lines("job.succeeded"), "nobody heard of its end")


@pytest.fixture
def case(valkey: Valkey, tmp_path: Path) -> Iterator[Case]:
    url = valkey.fresh_url()
    with running(tmp_path, url) as system, valkey.client(url) as client:
        yield Case(system, client, url)


def test_when_the_connection_is_cut(case: Case) -> None:
    case.client.client_kill_filter(_type="normal", skipme=True)
    case.until(lambda: case.worker.log.count("Connected to") == 2, "the worker does not connect again")
    case.go_on()
    case.ran_once()


def test_when_the_worker_is_asked_to_stop(case: Case) -> None:
    """It goes back, uncounted, and another worker runs it."""
    case.worker.signal(signal.SIGTERM)
    case.until(lambda: "Stopping Pool" in case.worker.log, "it does not stop")
    case.go_on()
    assert case.worker.popen.wait(60) == 0
    assert case.system.events("it") == []
    assert case.client.llen("celery") == 1
    case.worker = case.system.worker("--concurrency", "1", name="another")
    case.ran_once()
