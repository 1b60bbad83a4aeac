"""One worker and the pauses that it hears of."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from flask_nightshift.domain.job import utcnow
from flask_nightshift.domain.orders import Ordered, Pause
from flask_nightshift.worker.pausing import Pausing


class Watch:
    """What is ordered, which is heard of when the test says so."""

    def __init__(self) -> None:
        self.ordered = Ordered(number=0, pauses={})
        self.tell: Callable[[Ordered], None] = lambda ordered: None

    def subscribe(self, heard: Callable[[Ordered], None]) -> None:
        self.tell = heard

    def order(self, *queues: str) -> None:
        pauses = {name: Pause(name, utcnow(), "ops@host") for name in queues}
        self.ordered = Ordered(number=self.ordered.number + 1, pauses=pauses)

    def read_now(self) -> None:
        self.tell(self.ordered)


class Worker:
    """A worker's consumer on a broker that does not skip paused queues; ``later`` waits for the event loop."""

    def __init__(self) -> None:
        capabilities = SimpleNamespace(skips_paused=False)
        self.services: Any = SimpleNamespace(
            broker=SimpleNamespace(capabilities=capabilities, end_consumer=None)
        )
        self.app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=["mail"])))
        self.hostname, self.quarantine = "worker@host", None
        self.line: Any = SimpleNamespace(adjust_soon=None)
        self.timer = SimpleNamespace(call_after=lambda seconds, call: None)
        self.task_consumer: Any = SimpleNamespace(paused=frozenset(), channel=object(), pause=self._pause)
        self.paused: list[frozenset[str]] = []
        self.later: list[Callable[[], None]] = []

    def _pause(self, paused: frozenset[str], cancel: Any) -> None:
        self.paused.append(paused)

    def soon(self, call: Callable[[], None]) -> None:
        self.later.append(call)


@pytest.fixture
def watch() -> Any:
    return Watch()


@pytest.fixture
def worker() -> Any:
    return Worker()


def test_a_worker_asks_before_it_consumes(worker: Any, watch: Any) -> None:
    pausing = Pausing(worker, watch)
    watch.order("mail")  # its thread has not heard of it yet
    pausing.connected()
    pausing.begins()
    assert worker.task_consumer.paused == {"mail"}
    assert not worker.later, "there is nothing left to do"


def test_what_is_heard_of_between_two_connections_holds_for_the_next_one(worker: Any, watch: Any) -> None:
    pausing = Pausing(worker, watch)
    pausing.connected()
    pausing.begins()
    pausing.ends()
    watch.order("mail")
    watch.read_now()
    assert not worker.later
    pausing.apply()
    assert not worker.paused, "the connection is gone"
    pausing.connected()
    pausing.begins()
    assert worker.task_consumer.paused == {"mail"}


def test_a_change_is_applied_once_in_the_event_loop_or_before_the_next_acknowledgement(
    worker: Any, watch: Any
) -> None:
    pausing = Pausing(worker, watch)
    pausing.connected()
    pausing.begins()
    watch.order("mail")
    watch.read_now()
    watch.read_now()
    assert not worker.paused
    pausing.apply()  # a job that blocked the loop has ended
    worker.later.pop()()
    assert worker.paused == [{"mail"}]
    assert not worker.later
