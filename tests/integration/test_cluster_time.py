"""A publish to a Redis Cluster ends in time, also if a node falls silent after others have refused it for a while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import RedisError

from broker_harness import Harness, a_job, make_harness
from flask_nightshift.brokers.failures import STEP, patience
from redis_cluster import TAG, RedisCluster

pytestmark = pytest.mark.redis
REST = 0.4
"""What is left to a publish, in seconds: its patience ended long ago, and its last step has begun."""


@pytest.fixture
def harness(redis_cluster: RedisCluster) -> Iterator[Harness]:
    with make_harness("cluster", redis_cluster) as made:
        yield made
    redis_cluster.ensure()


def client_of(harness: Harness) -> Any:
    broker: Any = harness.broker
    return broker._connected(STEP)


def seconds_of(client: Any, *command: str) -> float:
    """How long a refused command takes with that rest."""
    began = time.monotonic()
    with patience(REST - STEP), pytest.raises(RedisError):
        client.execute_command(*command)
    return time.monotonic() - began


@pytest.mark.parametrize("refusal", ["ask", "moved"])
def test_a_silent_node_gets_what_is_left(harness: Harness, redis_cluster: RedisCluster, refusal: str) -> None:
    harness.broker.publish(a_job(), harness.queue)
    client = client_of(harness)
    client.get(f"{TAG}nothing")
    if refusal == "ask":
        _, target = redis_cluster.begin_move()
    else:
        source, target = redis_cluster.begin_move()
        redis_cluster.end_move(source, target)
    target.freeze()
    assert seconds_of(client, "GET", f"{TAG}nothing") < REST + 0.6


def test_the_connection_has_its_usual_time_limit_afterwards(
    harness: Harness, redis_cluster: RedisCluster
) -> None:
    client = client_of(harness)
    client.get(f"{TAG}nothing")
    redis_cluster.move()
    with patience(REST - STEP):
        assert client.get(f"{TAG}nothing") is None, "it follows the move with what is left"
    assert client.get(f"{TAG}nothing") is None
    (connection,) = client.connection_pool._available_connections
    assert connection._sock.gettimeout() == STEP
    assert connection._parser._socket_timeout == STEP
