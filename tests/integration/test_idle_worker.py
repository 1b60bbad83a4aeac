"""The requests of an idle worker to Redis, and the start of jobs whose producer rang no doorbell."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from servers import RedisServer, wait_for
from system import System
from transport_support import Harness

SECONDS = 12
MANY = ",".join(f"queue{number}" for number in range(400))


@pytest.mark.thorough
@pytest.mark.parametrize("broker", ["redis_server"], indirect=True)
def test_an_idle_worker_with_many_queues_sends_few_requests(
    broker: Any, new_system: Callable[..., System]
) -> None:
    system = new_system(NIGHTSHIFT_QUEUES=MANY)
    worker = system.worker("--concurrency", "1", NIGHTSHIFT_QUEUES=MANY)
    other = system.worker("--concurrency", "1", name="other", NIGHTSHIFT_QUEUES=MANY)  # they watch each other
    client = broker.client()
    system.until(lambda: _waiting(client) == 2, 20, "they do not come to rest")
    for _ in range(3):  # the first time, they may still do what follows their start
        requests, inside = _commands(broker)
        if sum(requests.values()) / SECONDS / 2 <= 3:
            break
    else:
        pytest.fail(f"they do not come to rest: {requests}")
    assert inside / SECONDS / 2 <= 20, "commands within scripts, for 400 queues in which nothing is"
    assert worker.popen.poll() is None
    assert other.stop() == 0


@pytest.mark.parametrize("broker", ["redis_server"], indirect=True)
def test_a_job_without_a_doorbell_begins_within_about_a_second(broker: Any) -> None:
    harness = Harness(broker)
    try:
        reader = harness.reader("some", *(f"queue{number}" for number in range(50)), "jobs")
        assert reader.within(1.5) == []
        for body in ("one", "two", "three"):
            harness.publish(body, stock=True)
            began = time.monotonic()
            reader.next(timeout=5).ack()
            assert time.monotonic() - began < 1.5
    finally:
        harness.close()


@pytest.mark.parametrize("broker", ["valkey"], indirect=True)
def test_kombus_look_at_its_health_leaves_an_idle_worker_alone(
    broker: Any, new_system: Callable[..., System]
) -> None:
    """It takes a connection for dead if nothing was answered for longer than the worker may wait."""
    often = {"broker_transport_options": {"health_check_interval": 1}}
    worker = new_system(NIGHTSHIFT_CELERY=json.dumps(often)).worker("--concurrency", "1")
    client = broker.client()

    def waits() -> int:
        return int(client.info("commandstats").get("cmdstat_blpop", {}).get("calls", 0))

    before = waits()
    wait_for(lambda: waits() >= before + 5, 60, "it does not wait")
    assert "stale connection" not in worker.log


def test_a_server_that_closes_idle_connections_delays_nothing(started: Any) -> None:
    """``timeout 2`` is shorter than a job; connections that the server closed meanwhile are reopened silently."""
    server: RedisServer = started(RedisServer())
    server.client().config_set("timeout", 2)
    harness = Harness(server)
    try:
        reader, other = harness.reader(prefetch=1), harness.reader("another", prefetch=1)
        harness.publish("warm")
        reader.next().ack()
        assert other.within(0.2) == []
        for number in range(4):
            harness.publish(number)
        lease = reader.lease
        clients = set(harness.redis.hvals("nightshift:clients"))
        for number in range(4):
            began = time.monotonic()
            message = reader.next(timeout=5)
            assert (message.payload, message.headers.get("x-delivery-count")) == (number, None)
            assert time.monotonic() - began < 1
            assert other.within(3.5) == []  # as long as a job: nobody reads from the connection
            message.ack()
        assert reader.lease is lease, "it has connected anew"
        assert set(harness.redis.hvals("nightshift:clients")) == clients, "a keeper has connected anew"
        wait_for(lambda: not harness.leased(), 3, "not acknowledged")
    finally:
        harness.close()


def _waiting(client: Any) -> int:
    return sum(entry["cmd"] == "blpop" for entry in client.client_list())


def _commands(broker: Any) -> tuple[Counter[str], int]:
    """The commands of clients within ``SECONDS``, and the number of commands that scripts call meanwhile."""
    requests: Counter[str] = Counter()
    inside = 0
    bell = threading.Timer(SECONDS, broker.client().echo, ("enough",))
    with broker.client().monitor() as seen:
        bell.start()
        for command in seen.listen():
            name = command["command"].split()[0].upper()
            if name == "ECHO":
                break
            if command["client_type"] == "lua":
                inside += 1
            else:
                requests[name] += 1
    bell.join()
    return requests, inside
