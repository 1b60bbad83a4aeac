"""Delayed jobs start in time and never early; 100,000 at once do not disturb others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from statistics import median
from threading import Event, Thread
from typing import Any

import pytest
from kombu import Producer

from flask_nightshift.brokers.redis.transport import queues
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from transport_support import QUEUE, Harness, eta


@pytest.fixture(params=["valkey", "redis_server"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    made = Harness(request.getfixturevalue(request.param))
    yield made
    made.close()


def test_waiting_consumers_get_a_delayed_job_in_time_and_never_early(
    harness: Harness, record_property: Any
) -> None:
    reader = harness.reader(prefetch=10)
    reader.within(0.1)
    producer = Producer(harness.connect().channel())
    for number in range(40):
        headers = {**eta(1.5 + number * 0.05), "n": number}
        producer.publish(number, exchange="", routing_key=QUEUE, headers=headers)
    due = {
        body["headers"]["n"]: at for _, at, body in queues.delayed_list(harness.redis, KeySpace(), QUEUE, 100)
    }
    assert len(due) >= 10  # on a busy machine some are due by now
    late = []
    for _ in range(40):
        message = reader.next(10)
        if (number := message.headers["n"]) in due:
            late.append(time.time() - due[number])
        message.ack()
    record_property("lateness_ms", [round(1000 * each, 1) for each in sorted(late)])
    print(f"lateness in ms: median {1000 * median(late):.1f}, worst {1000 * max(late):.1f}")
    assert min(late) >= 0, "early"
    assert max(late) < 1.0, "late"
    assert median(late) < 0.5


def test_a_hundred_thousand_due_at_once_neither_starve_ready_jobs_nor_block_the_server(
    harness: Harness,
) -> None:
    count = 100_000
    _delay(harness, count)
    reader = harness.reader(prefetch=50)
    with Pings(harness) as pings:
        taken, published, overtaken, waits = 0, 0.0, 0, []
        until = time.monotonic() + 120
        while queues.delayed_count(harness.redis, KeySpace(), QUEUE) and time.monotonic() < until:
            if not published:
                harness.publish("ready", headers={"id": "ready"})
                published, before = time.monotonic(), taken
            with suppress(TimeoutError):
                reader.connection.drain_events(timeout=1)
            for message in _all(reader):
                taken += 1
                if message.headers.get("id") == "ready":
                    overtaken = max(overtaken, taken - before)
                    waits.append(time.monotonic() - published)
                    published = 0.0
                message.ack()
            assert len(harness.redis.hkeys(f"nightshift:lease:{reader.lease.id}")) <= 100, "prefetch grew"
    assert queues.delayed_count(harness.redis, KeySpace(), QUEUE) == 0
    print(f"longest stall of the server: {1000 * pings.longest:.1f} ms; {taken} jobs taken;"
          f" a ready job came after {overtaken} others and {1000 * max(waits):.0f} ms at most")  # fmt: skip
    assert pings.longest < 1.0
    assert len(waits) > 50
    assert overtaken <= 300, "what was ready stood behind all that was due"


class Pings:
    """A second client that pings continuously, and records its longest wait."""

    def __init__(self, harness: Harness) -> None:
        self.longest = 0.0
        self._client = harness.server.client()
        self._over = Event()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.002):
            began = time.perf_counter()
            self._client.ping()
            self.longest = max(self.longest, time.perf_counter() - began)

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()


def _delay(harness: Harness, count: int) -> None:
    """Put messages that are already due into the delayed set."""
    harness.publish("model", headers={"id": "due"})
    raw = harness.redis.rpop(QUEUE)
    key = f"nightshift:delayed:{QUEUE}"
    model = raw.replace(b'"headers":{', b'"headers":{"n":%d,')
    assert b"%d" in model
    for start in range(0, count, 5000):
        members = {b"0|" + model.replace(b"%d", b"%d" % n): 1 for n in range(start, start + 5000)}
        harness.redis.zadd(key, members)


def _all(reader: Any) -> list[Any]:
    found = list(reader.got)
    reader.got.clear()
    return found
