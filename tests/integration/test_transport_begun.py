"""Only a delivery whose job began is counted, and a job that may kill its worker is taken alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_nightshift.brokers.redis.transport import scripts
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from servers import wait_for
from transport_support import Harness, bodies, look_for_dead


@pytest.fixture
def harness(redis_server: Any) -> Iterator[Harness]:
    made = Harness(redis_server)
    yield made
    made.close()


def test_deliveries_that_did_not_begin_come_back_uncounted(harness: Harness) -> None:
    for number in range(6):
        harness.publish(number)
    worker = _worker(harness, slots=1)
    first, second, *_ = worker.take(6)
    assert worker.channel.begin_delivery(first.delivery_tag)
    assert worker.channel.begin_delivery(second.delivery_tag)
    _reclaim(harness, worker)
    assert [_count(raw) for raw in _ready(harness)] == [1, 1, 0, 0, 0, 0]
    assert not harness.redis.keys("nightshift:started:*")


def test_a_message_that_kills_its_worker_when_read_is_counted_too(harness: Harness) -> None:
    """It never begins. The cause is unknown, so all deliveries of that claim count, but none of the claim before."""
    for number in range(3):
        harness.publish(number)
    worker = _worker(harness, slots=1)
    worker.take(3)
    for number in range(3, 5):
        harness.publish(number)
    lease, claims = worker.lease, worker.channel.consumer._claims
    scripts.CLAIM.run(
        harness.redis, *claims.call(claims.new(lease, ["jobs"], 3))
    )  # the answer ends the process
    _reclaim(harness, worker)
    assert [_count(raw) for raw in _ready(harness)] == [1, 0, 0, 1, 1], lease.received


def test_an_exception_in_the_loop_is_blamed_on_the_unproven_job(harness: Harness) -> None:
    harness.publish(0)
    dead = _worker(harness, slots=1)
    dead.take(1)
    _reclaim(harness, dead)
    for number in (1, 2):
        harness.publish(number)
    for crashes in (1, 2):
        crashing = _worker(harness, slots=1)
        crashing.take(3)
        crashing.channel.crashed = True
        crashing.channel.close()
        assert [_count(raw) for raw in _ready(harness)] == [1 + crashes, 0, 0]


def test_unproven_jobs_run_one_at_a_time_beside_other_jobs(harness: Harness) -> None:
    for number in range(3):
        harness.publish(number)
    dead = _worker(harness, slots=3)
    dead.take(3)
    _reclaim(harness, dead)
    for number in range(3, 8):
        harness.publish(number)
    alive = _worker(harness, slots=2)
    got = alive.within(0.7)
    assert bodies(got) == [0, 3, 4, 5, 6, 7], "one of the three, and what came after them"
    assert got[0].headers["x-delivery-count"] == 1
    for message in got[1:]:
        message.ack()
    assert alive.within(0.5) == []
    for body in (1, 2):
        got[0].ack()
        got = alive.take(1)
        assert bodies(got) == [body], "the next one, as soon as the one before is settled"


def test_an_unproven_job_is_taken_only_when_it_can_begin_at_once(harness: Harness) -> None:
    harness.publish(0)
    dead = _worker(harness, slots=1)
    dead.take(1)
    alive = _worker(harness, slots=2)
    for number in (1, 2):
        harness.publish(number)
    first, second = alive.take(2)
    _reclaim(harness, dead)
    for number in (3, 4):
        harness.publish(number)
    third, fourth = alive.take(2)
    assert bodies([first, second, third, fourth]) == [1, 2, 3, 4], "others are taken ahead"
    harness.publish(5)
    first.ack()
    second.ack()
    assert alive.within(0.5) == [], "nothing more, so that a place becomes free for it"
    harness.redis.rpush("jobs", harness.redis.lpop("jobs"))  # before it in the queue
    third.ack()
    fourth.ack()
    got = alive.take(2)
    assert bodies(got) == [0, 5], "it is the first one that is delivered"


def test_an_unproven_job_that_is_settled_elsewhere_frees_the_place(harness: Harness) -> None:
    """However it is settled: retried, given back, or its lease is lost."""
    for number in range(3):
        harness.publish(number)
    dead = _worker(harness, slots=3)
    dead.take(3)
    _reclaim(harness, dead)
    worker = _worker(harness, slots=1)
    (first,) = worker.take(1)
    assert worker.replace(first, "retry", queue="other")
    (second,) = worker.take(1)
    assert worker.channel.begin_delivery(second.delivery_tag)
    worker.channel.draining = True
    second.reject(requeue=True)
    (second,) = worker.take(1)
    assert (second.payload, second.headers["x-delivery-count"]) == (1, 1), "a stop is not counted"
    worker.channel.draining = False
    assert worker.channel.begin_delivery(second.delivery_tag)
    second.reject(requeue=True)
    (second,) = worker.take(1)
    assert second.headers["x-delivery-count"] == 2


def test_a_job_that_is_retried_in_another_thread_makes_room_at_once(harness: Harness) -> None:
    reader = harness.reader(prefetch=1)
    for number in range(2):
        harness.publish(number)
    (first,) = reader.take(1)
    timer = threading.Timer(0.5, reader.replace, [first, "retry", "other"])
    timer.start()
    began = time.monotonic()
    reader.connection.drain_events(timeout=20)  # as a loop without timers waits
    timer.join()
    assert time.monotonic() - began < 10
    assert bodies(list(reader.got)) == [1]


def _worker(harness: Harness, slots: int) -> Any:
    """A consumer that reports which deliveries begin, as our workers do."""
    reader = harness.reader(prefetch=6)
    reader.connection.transport.slots = slots
    return reader


def _reclaim(harness: Harness, reader: Any) -> None:
    """As if ``reader``'s process had been killed long ago."""
    reader.lease.renewer.stop()
    harness.redis.zadd(KeySpace().consumers, {reader.lease.id: 1})
    wait_for(lambda: reader.lease.id in look_for_dead(harness), 5, "it is not reclaimed")


def _ready(harness: Harness) -> list[bytes]:
    return list(reversed(harness.redis.lrange("jobs", 0, -1)))


def _count(raw: bytes) -> int:
    from flask_nightshift.brokers import payload

    return payload.take_count(payload.parse(raw))
