"""The jobs of a worker that have not begun go back to their queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency import thread

from flask_nightshift.brokers.capabilities import Capabilities
from flask_nightshift.worker.line import Line
from flask_nightshift.worker.pools.prefork import JobPool
from flask_nightshift.worker.pools.solo import JobSolo
from flask_nightshift.worker.pools.threads import JobThreads


class Worker:
    """What a line needs of a worker, with a broker that notes what is returned; its event loop never turns."""

    def __init__(self) -> None:
        self.returned: list[str] = []
        self.later: list[Callable[..., Any]] = []
        self.missed: set[str] = set()
        broker = SimpleNamespace(
            return_unstarted=self.returned.extend,
            missed=lambda messages: [each for each in messages if each in self.missed],
        )
        self.services = SimpleNamespace(broker=broker)
        self.controller = SimpleNamespace(semaphore=SimpleNamespace(_waiting=deque()))
        self.pool: Any = SimpleNamespace(unstarted=0)
        self.hub: Any = None
        self.hub, self.task_consumer = object(), None
        self.timer = SimpleNamespace(
            call_after=lambda _, call, args=(): self.later.append(lambda: call(*args))
        )
        self.suspects_wait = False
        self.line = Line(self)  # type: ignore[arg-type]

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        self.later.append(lambda: call(*args))

    def pause_suspects(self) -> None:
        self.suspects_wait = True

    def turn(self) -> None:
        """Make the calls that wait for the loop."""
        calls, self.later = self.later, []
        for call in calls:
            call()

    def wait(self, *names: str) -> None:
        """Jobs of these names wait for a place."""
        self.controller.semaphore._waiting.extend((print, (request(name),), {}) for name in names)


class Message(str):
    """A message, by its name."""

    channel = SimpleNamespace(connection=True)


def request(name: str) -> Any:
    return SimpleNamespace(id=name, message=Message(name), acknowledged=False, settled=False, time_start=None)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr("flask_nightshift.worker.line.task_ready", lambda _: None)
    return Worker()


def test_jobs_that_leave_go_back_in_one_step_of_the_loop(worker: Worker) -> None:
    worker.line.leave([request("a"), request("b")])
    worker.line.leave([request("c")])
    assert (worker.returned, len(worker.later)) == ([], 1)
    worker.later[0]()
    assert worker.returned == ["a", "b", "c"]


def test_when_the_worker_stops_what_waits_goes_back_at_once(worker: Worker) -> None:
    worker.line.leave([request("leaves")])
    worker.wait("a", "b")
    worker.line.close()
    assert worker.returned == ["leaves", "a", "b"]
    assert not worker.line.waiting


def test_jobs_that_leave_a_stopping_worker_do_not_wait_for_its_loop(worker: Worker) -> None:
    worker.line.close()
    worker.line.leave([request("a")])
    assert worker.returned == ["a"]


def test_what_no_child_takes_goes_back_as_soon_as_another_worker_may_run_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_nightshift.worker.line.AHEAD", 0.0)
    worker.wait("a", "b", "c")
    requests = [args[0] for _, args, _ in worker.line.waiting]
    monkeypatch.setattr("flask_nightshift.worker.line.reserved_requests", requests)
    worker.missed = {"b"}

    worker.line._look()
    worker.turn()
    assert worker.returned == ["b"]
    assert [args[0].id for _, args, _ in worker.line.waiting] == ["a", "c"]
    assert worker.line.stalled
    assert worker.suspects_wait

    worker.missed = {"a", "c"}
    worker.turn()
    worker.turn()
    assert worker.returned == ["b", "a", "c"]


def test_what_waits_for_a_place_goes_back_together_with_what_the_pool_returns(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_nightshift.worker.line.AHEAD", 0.0)
    worker.wait("young")
    requests = [args[0] for _, args, _ in worker.line.waiting]
    monkeypatch.setattr("flask_nightshift.worker.line.reserved_requests", [request("old"), *requests])
    asked: list[set[str]] = []
    worker.pool = SimpleNamespace(unstarted=1, take_back_unstarted=asked.append)
    worker.missed = {"old", "young"}
    worker.line._look()
    assert asked == [{"old", "young"}]
    worker.line.leave([request("old")])  # as the pool has it leave, a moment later
    assert not worker.returned
    worker.turn()
    assert sorted(worker.returned) == ["old", "young"]


@pytest.mark.parametrize(
    ("pool", "by_time"),
    [(JobPool, True), (JobThreads, True), (JobSolo, False), (thread.TaskPool, False)],
)
def test_where_the_broker_sends_by_itself_the_loop_must_turn_while_jobs_run(
    worker: Worker, pool: type, by_time: bool
) -> None:
    capabilities = Capabilities(fixes_prefetch=True, most_ahead=4)
    worker.services.broker.capabilities = capabilities
    worker.controller.autoscaler, worker.controller.looks_ahead_by_time = None, True
    worker.hub = object()
    worker.pool = object.__new__(pool)
    assert worker.line.look_ahead_by_time() is by_time
    worker.hub = None
    assert not worker.line.look_ahead_by_time()
