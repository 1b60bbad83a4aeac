"""A next state that cannot be written affects only its own job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from flask_nightshift.brokers import Connection
from flask_nightshift.brokers.locks import LocksInBroker
from flask_nightshift.brokers.memory.broker import MemoryBroker
from flask_nightshift.config import settings
from flask_nightshift.domain.events import Events, JobDied
from flask_nightshift.domain.job import JobRef
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.worker.settlement import Settlement
from flask_nightshift.worker.transition import Transition


class Broker(MemoryBroker):
    """A broker that refuses writes to the queues in ``bad``."""

    bad: tuple[str, ...] = ()

    def replace(self, message: Any, envelope: Envelope, queue: str, *, due: Any = None) -> bool:
        if queue in self.bad:
            raise ValueError("no such colour")
        return super().replace(message, envelope, queue, due=due)

    def ids(self, queue: str) -> list[str]:
        """The jobs that are ready in ``queue``."""
        return self._ask(
            lambda server: [json.loads(stored.payload)["headers"]["id"] for stored in server.ready(queue)]
        )


class Harness:
    """A settlement, its scheduled calls, and the deaths that it reports."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.later: list[Callable[[], None]] = []
        self.died: list[JobDied] = []
        events = Events()
        events.subscribe(lambda event: self.died.append(event) if isinstance(event, JobDied) else None)
        services: Any = SimpleNamespace(broker=broker, events=events, locks=LocksInBroker())
        self.settlement = Settlement(services, "worker@test", lambda _, call: self.later.append(call))
        conf = broker.celery_settings()
        connection = Connection(conf["broker_url"], transport=conf["broker_transport"])
        self.channel = connection.channel()

    def step(self, job_id: str, queue: str, then: Callable[[], None] = lambda: None) -> Transition:
        """The transition of a job that was delivered from ``work`` and goes to ``queue``."""
        headers = {"id": job_id, "task": "mail.send"}
        self.broker.publish(Envelope(b"[]", headers), "work")
        message = self.channel.basic_get("work")
        return Transition(
            message, Envelope(b"[]", headers), queue, None, JobRef(job_id, "mail.send", "work", 1), then
        )


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = "memory://"
    made = Harness(Broker(settings.load(app)))
    yield made
    made.channel.close()
    made.broker.close()


def test_a_step_that_cannot_be_written_is_buried_with_the_reason(harness: Harness) -> None:
    harness.broker.bad = ("purple",)

    harness.settlement.write(harness.step("a", "purple"))
    harness.settlement.write(harness.step("b", "mail"))

    assert (harness.broker.ids(DEAD_QUEUE), harness.broker.ids("mail")) == (["a"], ["b"])
    assert str(harness.died[0].failure) == "ValueError: its next state cannot be written: no such colour"
    assert not harness.later, "it counted as a broker that is away"


def test_a_refused_step_leaves_other_waiting_steps_alone(harness: Harness) -> None:
    harness.broker.bad = ("purple",)
    steps = [harness.step(*each) for each in (("a", "mail"), ("b", "purple"), ("c", "mail"))]
    harness.broker.server.away = True
    for step in steps:
        harness.settlement.write(step)
    harness.broker.server.away = False
    assert harness.broker.depths(["work"])[0].leased == 3, "they stay unacknowledged"

    harness.settlement._away_until = 0.0
    harness.later.pop()()

    assert (harness.broker.ids("mail"), harness.broker.ids(DEAD_QUEUE)) == (["a", "c"], ["b"])
    assert harness.broker.depths(["work"])[0].leased == 0


def test_a_job_whose_dead_letter_cannot_be_written_goes_back(harness: Harness) -> None:
    harness.broker.bad = ("purple", DEAD_QUEUE)

    harness.settlement.write(harness.step("a", "purple"))

    assert harness.broker.ids("work") == ["a"]
    assert not harness.later
    assert not harness.died


def test_an_error_after_the_settlement_is_not_one_of_the_settlement(harness: Harness) -> None:
    def fail() -> None:
        raise RuntimeError("of a hook")

    harness.settlement.write(harness.step("a", "mail", fail))
    harness.settlement.write(harness.step("b", "mail"))

    assert harness.broker.ids("mail") == ["a", "b"]
    assert not harness.later
