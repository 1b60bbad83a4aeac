"""A message lacks the headers that say nothing; stock Celery's worker and the monitors read it like a whole one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.contrib.testing.worker import start_worker
from celery.events import EventDispatcher
from flask import Flask
from kombu import Queue

from broker_harness import Harness
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.message.headers import ABSENT, slim
from flask_nightshift.services import current
from resultsapp import add, total

ATTRIBUTES = [name for name, value in vars(Context).items() if not (name.startswith("_") or callable(value))]
SENT = {"lang", "task", "id", "root_id", "timelimit", "argsrepr", "kwargsrepr", "origin", "ignore_result", "stamps",
        "nightshift"}  # fmt: skip
DIFFERS = ("hostname", "origin", "reply_to", "properties")
"""What any two messages differ in, besides the id, or what only Nightshift writes."""


def test_headers_are_left_out_where_celery_s_request_has_their_value_anyway() -> None:
    assert {name: getattr(Context, name) for name in ABSENT} == dict(ABSENT)


def test_a_header_with_a_value_is_sent() -> None:
    headers = {**dict.fromkeys(ABSENT, "given"), "retries": 1, "stamps": {}}
    assert slim(headers) == headers


def test_a_plain_job_s_message(harness: Harness, app: Flask) -> None:
    with harness.consumer() as receive:
        add.delay(1, 2)
        message = receive()
        message.ack()
    assert set(message.headers) - {"x-delivery-count"} == SENT
    assert set(message.headers["nightshift"]) == {"enqueued_at", "queue"}
    assert message.payload == [[1, 2], {}, {}]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events that workers of this process send to monitors."""
    sent: list[dict[str, Any]] = []

    def send(self: Any, kind: str, *args: Any, **fields: Any) -> None:
        sent.append({"type": kind, **fields})

    monkeypatch.setattr(EventDispatcher, "send", send)
    return sent


@pytest.fixture
def requests(harness: Harness, app: Flask, events: list[Any]) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Runs a stock Celery worker; returns a function that waits for the job with an id, and gives its request."""
    if harness.name not in ("redis", "rabbitmq"):
        pytest.skip("stock Celery cannot read this broker, or another test covers it")
    with harness.connection() as connection:
        harness.broker.prepare(connection, [harness.broker.queue(harness.queue)])
    found: dict[str, dict[str, Any]] = {}
    arrived = threading.Condition()
    stock = Celery("stock", broker=harness.url, set_as_current=False)
    stock.conf.update(
        task_default_queue=harness.queue,
        task_queues=[Queue(harness.queue, no_declare=True, queue_arguments={"x-queue-type": "quorum"})],
        task_ignore_result=True,
        worker_send_task_events=True,
        worker_enable_remote_control=False,
        broker_heartbeat=2,  # so that its loop turns, and sees that it must end
    )

    @stock.task(name="results.add", bind=True, shared=False)
    def look(self: Any, a: int, b: int) -> None:
        with arrived:
            found[self.request.id] = {name: getattr(self.request, name) for name in ATTRIBUTES}
            arrived.notify_all()

    def request(job_id: str) -> dict[str, Any]:
        with arrived:
            assert arrived.wait_for(lambda: job_id in found, 20), "the stock worker did not run it"
            return found[job_id]

    with start_worker(stock, 1, "solo", perform_ping_check=False):
        yield request
    stock.close()


def whole(job_id: str, **options: Any) -> Envelope:
    """The message of ``add(1, 2)`` with every header, as Celery makes it."""
    celery = current().celery
    limits = {"time_limit": add.time_limit, "soft_time_limit": add.soft_time_limit, **options}
    made = celery.amqp.as_task_v2(job_id, add.name, (1, 2), {}, **limits)
    return Envelope(json.dumps(made.body).encode(), made.headers, made.properties)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"retries": 2, "shadow": "other.name", "time_limit": 9, "soft_time_limit": 7},
        {"group_id": "g", "group_index": 3, "root_id": "r", "parent_id": "p"},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_a_stock_worker_and_monitors_read_it_like_a_whole_message(
    harness: Harness,
    requests: Callable[[str], dict[str, Any]],
    events: list[dict[str, Any]],
    options: dict[str, Any],
) -> None:
    ours = add.apply_async((1, 2), ignore_result=False, **options).id
    harness.broker.publish(whole("whole", ignore_result=False, **options), harness.queue)
    assert as_read(requests(ours), ours) == as_read(requests("whole"), "whole")

    deadline = time.monotonic() + 10
    while len(told := [e for e in list(events) if e["type"] == "task-succeeded"]) < 2:
        assert time.monotonic() < deadline, "no event says that both jobs succeeded"
        time.sleep(0.01)
    assert len(told) == 2
    assert as_told(events, ours) == as_told(events, "whole")


def test_links_arrive_at_a_stock_worker(harness: Harness, requests: Callable[[str], dict[str, Any]]) -> None:
    job_id = add.apply_async((1, 2), link=total.si([1]), link_error=total.si([2])).id
    found = requests(job_id)
    assert [each["task"] for each in (*found["callbacks"], *found["errbacks"])] == ["results.total"] * 2


def as_read(request: dict[str, Any], job_id: str) -> dict[str, Any]:
    """What differs only by the id of the job becomes equal."""
    kept = {name: value for name, value in request.items() if name not in DIFFERS}
    kept["headers"] = {k: v for k, v in (kept["headers"] or {}).items() if k != "nightshift"}
    return {name: "its id" if value == job_id else value for name, value in kept.items()}


def as_told(events: list[dict[str, Any]], job_id: str) -> list[dict[str, Any]]:
    of_job = [event for event in list(events) if event.get("uuid") == job_id]
    skipped = ("runtime", "pid", "hostname")
    return [
        {name: "its id" if value == job_id else value for name, value in event.items() if name not in skipped}
        for event in of_job
    ]
