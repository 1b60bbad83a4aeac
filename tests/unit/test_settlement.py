"""A next state that cannot be written is the trouble of its own job only."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from flask_nightshift.domain.events import Events, JobDied
from flask_nightshift.domain.job import JobRef
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message.headers import DEAD_QUEUE, Outgoing
from flask_nightshift.worker.settlement import Settlement, Step


class Broker:
    """Remembers what it took; ``away`` is a broker that is down, ``bad`` are queues that cannot be written to."""

    def __init__(self, *bad: str) -> None:
        self.away = False
        self.bad = bad
        self.taken: list[tuple[str, str]] = []

    def replace(self, message: Any, outgoing: Outgoing, queue: str, *, due: Any = None) -> bool:
        if self.away:
            raise BrokerUnavailable("down")
        if queue in self.bad:
            raise ValueError("no such colour")
        self.taken.append((message.headers["id"], queue))
        return True

    def give_back(self, message: Any) -> None:
        self.taken.append((message.headers["id"], "back"))


def make(broker: Broker) -> tuple[Settlement, list[Callable[[], None]], list[JobDied]]:
    """A settlement, what it wants to be called later, and the deaths that it tells of."""
    events, later, died = Events(), [], []
    events.subscribe(lambda event: died.append(event) if isinstance(event, JobDied) else None)
    runtime: Any = SimpleNamespace(broker=broker, events=events)
    return Settlement(runtime, "worker@test", lambda _, call: later.append(call)), later, died


def a_step(job_id: str, queue: str, then: Callable[[], None] = lambda: None) -> Step:
    headers = {"id": job_id, "task": "mail.send"}
    message = SimpleNamespace(
        headers=headers, properties={}, body=b"[]", content_type="application/json", content_encoding="utf-8"
    )
    job = JobRef(job_id, "mail.send", "mail", 1)
    return Step(message, Outgoing(b"[]", headers, {}), queue, None, job, then)


def test_a_step_that_cannot_be_written_is_buried_with_the_reason() -> None:
    broker = Broker("purple")
    settlement, later, died = make(broker)
    settlement.write(a_step("a", "purple"))
    settlement.write(a_step("b", "mail"))
    assert broker.taken == [("a", DEAD_QUEUE), ("b", "mail")]
    assert str(died[0].failure) == "ValueError: its next state cannot be written: no such colour"
    assert not later, "it counted as a broker that is away"


def test_among_waiting_steps_it_does_not_take_the_others_with_it() -> None:
    broker = Broker("purple")
    settlement, later, _ = make(broker)
    broker.away = True
    for job_id, queue in (("a", "mail"), ("b", "purple"), ("c", "mail")):
        settlement.write(a_step(job_id, queue))
    broker.away = False
    settlement._away_until = 0.0
    later.pop()()
    assert broker.taken == [("a", "mail"), ("b", DEAD_QUEUE), ("c", "mail")]


def test_one_whose_dead_letter_cannot_be_written_either_goes_back() -> None:
    broker = Broker("purple", DEAD_QUEUE)
    settlement, later, died = make(broker)
    settlement.write(a_step("a", "purple"))
    assert broker.taken == [("a", "back")]
    assert not later
    assert not died


def test_an_error_after_the_settlement_is_not_one_of_the_settlement() -> None:
    broker = Broker()
    settlement, later, _ = make(broker)

    def fail() -> None:
        raise RuntimeError("of a hook")

    settlement.write(a_step("a", "mail", fail))
    settlement.write(a_step("b", "mail"))
    assert broker.taken == [("a", "mail"), ("b", "mail")]
    assert not later
