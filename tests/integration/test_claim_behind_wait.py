"""A waiting worker that holds nothing has its next claim at the server already, behind the wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Queue

from flask_nightshift.brokers.redis.transport import renewal
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from flask_nightshift.brokers.redis.transport.polling import Asked
from servers import wait_for
from system import System
from transport_support import Harness, Reader


@pytest.fixture(params=["redis_server", "valkey"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    made = Harness(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def reader(harness: Harness) -> Reader:
    """A consumer that waits, with a claim behind its wait."""
    found = harness.reader()
    found.connection.transport.slots = 2
    _wait(found)
    assert _has_claim_behind(found)
    return found


def test_the_server_claims_as_soon_as_a_job_arrives(harness: Harness, reader: Reader) -> None:
    harness.publish("one")
    wait_for(lambda: harness.leased() == ["one"], 3, "the server has not claimed it")
    assert reader.next().payload == "one"
    harness.publish("two")
    assert reader.next().payload == "two"


def test_a_worker_that_holds_something_decides_when_its_wait_is_over(
    harness: Harness, reader: Reader
) -> None:
    harness.publish("one")
    held = reader.next()
    _wait(reader)
    assert not _has_claim_behind(reader)
    held.ack()
    _wait(reader)
    assert _has_claim_behind(reader)


def test_no_more_is_claimed_so_than_can_begin(harness: Harness, reader: Reader) -> None:
    for number in range(5):
        harness.publish(number, queue="aside")
    together = harness.redis.pipeline(transaction=True)
    for raw in reversed(harness.redis.lrange("aside", 0, -1)):
        together.lpush("jobs", raw)
    together.rpush(KeySpace().bell("jobs"), 1)
    together.execute()
    wait_for(lambda: sorted(harness.leased()) == [0, 1], 3, "two can begin")
    assert [reader.next().payload for _ in range(5)] == [0, 1, 2, 3, 4]


def test_an_end_of_consuming_leaves_nothing_behind(harness: Harness, reader: Reader) -> None:
    reader.consumer.cancel()
    harness.publish("one")
    assert (harness.ready(), harness.leased()) == (["one"], [])
    reader.consumer.consume()
    assert reader.next().payload == "one"


def test_what_was_claimed_meanwhile_returns_at_the_end_of_consuming(harness: Harness, reader: Reader) -> None:
    harness.publish("one")
    wait_for(lambda: harness.leased() == ["one"], 3, "the server has not claimed it")
    reader.consumer.cancel()
    assert (harness.ready(), harness.leased()) == (["one"], [])
    assert harness.reader().next().headers.get("x-delivery-count") is None


def test_a_claim_whose_reply_is_lost_loses_no_job(harness: Harness, reader: Reader) -> None:
    harness.publish("one")
    wait_for(lambda: harness.leased() == ["one"], 3, "the server has not claimed it")
    reader.channel.client.connection.disconnect()
    assert harness.reader().next().payload == "one"


def test_a_wait_that_is_cut_leaves_no_claim_behind(harness: Harness, reader: Reader) -> None:
    host, port = reader.channel.client.connection._sock.getsockname()
    harness.redis.client_kill(f"{host}:{port}")
    harness.publish("one")
    assert harness.ready() == ["one"]
    with pytest.raises(reader.connection.connection_errors):
        reader.next()
    assert harness.reader().next().payload == "one"


def test_a_server_that_forgot_its_scripts_is_told_them(harness: Harness, reader: Reader) -> None:
    harness.redis.script_flush()
    harness.publish("one")
    assert reader.next().payload == "one"


def test_a_new_queue_is_looked_at_although_the_claim_did_not_name_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "PULSE", 3600.0)  # which would find the job
    harness.publish("there", queue="another")
    harness.redis.delete(KeySpace().bell("another"))
    reader = harness.reader(lease_seconds=60, lease_renew_seconds=30)
    reader.connection.transport.slots = 2
    _wait(reader)
    assert _has_claim_behind(reader)
    reader.consumer.add_queue(Queue("another", routing_key="another"))
    reader.consumer.consume()
    assert reader.next(timeout=4).payload == "there"


def test_a_worker_that_is_cut_off_is_given_no_job_that_may_have_begun(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "PULSE", 3600.0)  # which would find the job
    cut_off, alive = (harness.reader(lease_seconds=60, lease_renew_seconds=30) for _ in range(2))
    for reader in (cut_off, alive):
        reader.connection.transport.slots = 2
    _wait(cut_off)
    harness.publish("one", queue="aside")
    raw = harness.redis.rpop("aside")
    harness.redis.lpush("jobs", b'{"x-delivery-count":1,' + raw[1:])
    harness.redis.rpush(KeySpace().bell("jobs"), 1)
    wait_for(lambda: _last_command(harness, cut_off) == "evalsha", 3, "the server has not claimed for it")
    assert (harness.ready(), harness.leased()) == (["one"], [])
    message = cut_off.next(timeout=3)  # it was not cut off after all
    assert message.headers["x-delivery-count"] == 1
    message.reject(requeue=True)
    assert alive.next(timeout=3).headers["x-delivery-count"] == 2


@pytest.mark.parametrize("broker", ["redis_server"], indirect=True)
def test_an_idle_worker_waits_so(broker: Any, new_system: Callable[..., System]) -> None:
    system = new_system()
    system.web()
    worker = system.worker("--concurrency", "2")
    client = broker.client()
    for _ in range(3):
        wait_for(lambda: _claims_behind_waits(client) == 1, 20, "it has no claim behind its wait")
        system.until_state(system.enqueue("test.nap", "it", 0), "succeeded")
    assert worker.stop() == 0


def _wait(reader: Reader) -> None:
    """Have the reader do what the event loop of a worker does before each wait."""
    assert reader.within(0.2) == []
    wait_for(
        lambda: reader.within(0.05) == [] and reader.channel.consumer._polling.asked is Asked.WAIT,
        3,
        "it does not wait",
    )
    reader.connection.transport.cycle.on_poll_start()


def _has_claim_behind(reader: Reader) -> bool:
    polling = reader.channel.consumer._polling
    return polling.asked is Asked.WAIT and polling.claim is not None


def _last_command(harness: Harness, reader: Reader) -> str:
    host, port = reader.channel.client.connection._sock.getsockname()
    (found,) = [each["cmd"] for each in harness.redis.client_list() if each["addr"] == f"{host}:{port}"]
    return str(found)


def _claims_behind_waits(client: Any) -> int:
    """How many clients wait at doorbells and have sent something more, which Redis keeps until the wait is over."""
    return sum(each["cmd"] == "blpop" and int(each["qbuf"]) > 0 for each in client.client_list())
