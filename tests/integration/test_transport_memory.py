"""After 10,000 jobs and several killed workers, no key is left or grows on the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from transport_cluster import QUEUE, Cluster
from transport_support import Harness

JOBS = 10_000


@pytest.fixture(params=["valkey", "redis_server"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made = Cluster(Harness(request.getfixturevalue(request.param)))
    yield made
    made.close()


@pytest.mark.thorough
def test_nothing_is_left_after_ten_thousand_jobs_and_three_kills(cluster: Cluster) -> None:
    client = cluster.harness.redis
    _enqueue(cluster, 1)
    warm = _worker(cluster)
    cluster.wait(lambda: int(client.get("count") or 0) == 1)
    assert warm.stop() == 0
    client.delete("count")
    keys_before, used_before = _keys(cluster), _used(client)

    _enqueue(cluster, JOBS)
    for killed in range(3):
        worker = _worker(cluster)
        cluster.wait(lambda killed=killed: int(client.get("count") or 0) > JOBS // 5 * (killed + 1), 60)
        worker.kill()
    last = _worker(cluster)
    cluster.wait(lambda: not _left(client), 90)
    # what stands while workers live is theirs alone: the killed ones have been reclaimed
    assert client.zcard("nightshift:consumers") == client.hlen("nightshift:clients") == 1
    assert client.zcard("nightshift:suspects") == 0
    assert last.stop() == 0

    assert JOBS <= int(client.get("count")) <= JOBS + 3 * 300, "lost, or more twice than were in hand"
    client.delete("count")
    cluster.wait(lambda: _keys(cluster) == keys_before, 10)
    assert _used(client) - used_before < 2_000


def _worker(cluster: Cluster) -> Any:
    return cluster.worker("solo", "--without-heartbeat", prefetch=100).until_ready()


def _enqueue(cluster: Cluster, jobs: int) -> None:
    """Copies of two jobs, one of them with a priority; every tenth is due in a while."""
    count = cluster.app.signature("count")
    with (
        cluster.app.connection_for_write() as connection,
        cluster.app.amqp.Producer(connection) as producer,
        producer.batch(),
    ):
        for number in range(jobs):
            more = {"countdown": 0.5 + number % 3} if number % 10 == 0 else {}
            count.apply_async(producer=producer, priority=3 * (number % 2), retry=False, **more)


def _left(client: Any) -> int:
    """The number of keys that contain jobs, read at one moment, because reclaiming moves jobs between keys."""
    keys = QUEUE, f"{QUEUE}\x06\x163", f"nightshift:delayed:{QUEUE}", "nightshift:leased"
    return int(client.exists(*keys))


def _keys(cluster: Cluster) -> set[bytes]:
    return cluster.harness.keys()


def _used(client: Any) -> int:
    """The bytes of all keys, without the server's buffers, whose size varies."""
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.scan_iter())
