"""A whole app on a Redis Cluster: its owner changes, its slot moves, and its keys stay together."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_harness import Harness, a_job, make_harness
from flask_nightshift import Actor
from flask_nightshift.brokers.base import PUBLISH_TIMEOUT
from flask_nightshift.brokers.redis.permissions import needed
from flask_nightshift.brokers.redis.transport.options import Options
from flask_nightshift.domain.actor import PERMISSIONS
from flask_nightshift.errors import BrokerUnavailable
from opsapp import opened
from redis_cluster import TAG, RedisCluster
from servers import wait_for
from system import System, running

pytestmark = pytest.mark.redis
QUEUES = 3
LEASE_SECONDS = Options().lease_seconds


@pytest.fixture
def harness(redis_cluster: RedisCluster) -> Iterator[Harness]:
    with make_harness("cluster", redis_cluster) as made:
        yield made


@pytest.fixture
def system(redis_cluster: RedisCluster, tmp_path: Path) -> Iterator[System]:
    with running(tmp_path, redis_cluster.fresh_url()) as made:
        yield made


ALL = [
    "redis_cluster",
    pytest.param("valkey_cluster", marks=pytest.mark.thorough),
    pytest.param("tls_cluster", marks=pytest.mark.thorough),
]


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> RedisCluster:
    """The cluster of ``indirect`` parameters: ``ALL``, or some of them."""
    found: RedisCluster = request.getfixturevalue(request.param)
    return found


def keys_without_tag(cluster: RedisCluster) -> set[str]:
    found: set[str] = set()
    for node in cluster.nodes:
        with node.client() as client:
            found |= {name.decode() for name in client.scan_iter(count=1000)}
    return {name for name in found if not name.startswith(TAG)}


@pytest.mark.parametrize("cluster", ALL, indirect=True)
def test_commands_and_pages_work_and_every_key_has_the_tag(cluster: RedisCluster, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "NIGHTSHIFT_DASHBOARD_AUTH": lambda _: Actor("ada", frozenset(PERMISSIONS)),
        "SECRET_KEY": "k",
    }
    with opened(tmp_path, cluster.fresh_url(), **config) as ops:
        ops.ok("pause", "mail", "--reason", "maintenance")
        job = ops.send.delay(1)
        later = ops.send.apply_async((2,), countdown=600)
        ops.services.journal.flush(5)
        assert "maintenance" in ops.ok("show", job.id)
        queues = {row["queue"]: row for row in ops.json("stats")["queues"]}
        assert (queues["mail"]["ready"], queues["mail"]["delayed"]) == (1, 1)
        for path in (
            "/nightshift/",
            "/nightshift/queues",
            "/nightshift/delayed",
            f"/nightshift/jobs/{later.id}",
        ):
            page = ops.get(path)
            assert page.status_code == 200, page.text
        assert later.id[-8:] in ops.get("/nightshift/delayed").text
        assert 'nightshift_queue_depth{queue="mail"} 1.0' in ops.get("/metrics").text
        scale = ops.get("/nightshift/scale?queue=mail")
        assert (scale.status_code, scale.json["problems"]) == (200, []), scale.json
        ops.ok("delayed", "run-now", later.id)
        ops.ok("cancel", job.id, "--yes")
        ops.ok("resume", "mail")
        assert {row["queue"]: row["ready"] for row in ops.json("stats")["queues"]}["mail"] == 1
        assert ops.get("/health/ready?part=broker").status_code == 200
        found = {row["check"]: row for row in json.loads(ops.run("doctor", "--json").stdout)}
        assert found["cluster"]["level"] == "ok", found["cluster"]
        assert found["permissions"]["level"] == "ok", found["permissions"]
        assert "failover" not in found, "each master has a replica"
    assert keys_without_tag(cluster) == set()


class Load:
    """Enqueues jobs from a thread until ``stop()``; ``accepted`` has those that the broker took."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._stopped = threading.Event()
        self.accepted: list[str] = []
        self.refused = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.002):
            job = a_job()
            try:
                self._harness.broker.publish(job, self._harness.queue)
            except BrokerUnavailable:
                self.refused += 1
            else:
                self.accepted.append(str(job.headers["id"]))

    def more(self, count: int) -> None:
        """Wait until so many more jobs are accepted."""
        until = len(self.accepted) + count
        wait_for(lambda: len(self.accepted) >= until, 30, "the broker takes no jobs")

    def stop(self) -> None:
        self._stopped.set()
        self.thread.join()


def received(harness: Harness, count: int) -> Counter[str]:
    """Take and acknowledge the jobs of the queue."""
    found: Counter[str] = Counter()
    with harness.consumer(prefetch=50) as receive:
        while len(found) < count and (message := receive(10)) is not None:
            found[message.headers["id"]] += 1
            message.ack()
    return found


@pytest.mark.parametrize("change", ["fail_over", "move"])
def test_publishers_follow_the_owner(harness: Harness, redis_cluster: RedisCluster, change: str) -> None:
    load = Load(harness)
    load.more(100)
    getattr(redis_cluster, change)()
    load.more(100)
    load.stop()
    assert load.refused == 0, "a change in good order takes less than a publish may"
    assert received(harness, len(load.accepted)) == Counter(load.accepted)


def test_nothing_is_done_by_halves_while_keys_move(harness: Harness, redis_cluster: RedisCluster) -> None:
    """Half of the queues are at the target. Nothing can be published or claimed, and nothing is lost."""
    queues = [f"{harness.queue}.{number}" for number in range(QUEUES)]
    jobs = [a_job() for _ in range(30)]
    for number, job in enumerate(jobs):
        harness.broker.publish(job, queues[number % QUEUES])
    source, target = redis_cluster.begin_move()
    assert redis_cluster.move_keys(source, target, QUEUES // 2 + 1)

    def values(node: Any) -> dict[bytes, bytes]:
        with node.client() as client:
            names = [name for name in client.scan_iter(count=1000) if b"nightshift:bell" not in name]
            with client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.execute_command("ASKING").dump(name)
                return dict(zip(names, pipe.execute()[1::2], strict=True))

    before = {**values(source), **values(target)}
    for queue in queues:
        with pytest.raises(BrokerUnavailable, match="being moved"):
            harness.broker.publish(a_job(), queue)
    assert {**values(source), **values(target)} == before

    redis_cluster.end_move(source, target)
    harness.broker.depths(queues)  # which learns of the new owner: a consumer would connect anew
    found = Counter[str]()
    for queue in queues:
        with harness.consumer(queue) as receive:
            while (message := receive(1)) is not None:
                found[message.headers["id"]] += 1
                message.ack()
    assert found == Counter(str(job.headers["id"]) for job in jobs)


def test_a_publish_fails_in_time_while_no_replica_takes_over(
    harness: Harness, redis_cluster: RedisCluster
) -> None:
    harness.broker.publish(a_job(), harness.queue)
    owner = redis_cluster.owner
    replica = redis_cluster.replica_of(owner)
    replica.freeze()
    owner.freeze()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        harness.broker.publish(a_job(), harness.queue)
    assert time.monotonic() - began < PUBLISH_TIMEOUT + 0.5


@pytest.mark.parametrize(
    "change",
    ["fail_over", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("kill_owner", "move"))],
)
def test_running_jobs_are_settled_with_the_new_owner(
    system: System, redis_cluster: RedisCluster, change: str
) -> None:
    system.web()
    system.worker("--beat", "--concurrency", "2")
    jobs = [system.enqueue("test.succeed", name, 4) for name in ("first", "second", "third")]
    system.until(lambda: system.events("first") and system.events("second"), 30, "they have not begun")
    getattr(redis_cluster, change)()
    for job in jobs:
        system.until_state(job, "succeeded", 60)
    for name in ("first", "second", "third"):
        assert system.events(name).count("begun") == 1
    system.until_state(system.enqueue("test.succeed", "last"), "succeeded")
    redis_cluster.ensure()
    assert keys_without_tag(redis_cluster) == set()


@pytest.mark.parametrize("cluster", ALL, indirect=True)
def test_a_worker_its_results_and_a_failover(cluster: RedisCluster, tmp_path: Path) -> None:
    with running(tmp_path, cluster.fresh_url()) as system:
        system.web()
        system.worker("--concurrency", "2")
        assert system.python(CHORD).strip() == "end"
        job = system.enqueue("test.succeed", "held", 4)
        system.until(lambda: system.events("held"), 30, "it has not begun")
        cluster.fail_over()
        system.until_state(job, "succeeded", 60)
        assert system.events("held").count("begun") == 1
        assert system.python(CHORD).strip() == "end"
    cluster.ensure()
    assert keys_without_tag(cluster) == set()


CHORD = """
import jobsapp
from celery import chord
app = jobsapp.create_app()
with app.app_context():
    task = app.extensions["celery"].tasks["test.succeed"]
    print(chord([task.si(f"part-{n}") for n in range(3)])(task.si("end")).get(timeout=30))
"""


@pytest.mark.thorough
def test_a_user_with_the_published_rules(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    options = {"global_keyprefix": TAG, "cluster_nodes": []}
    rules = needed(options, [], database=0, results=TAG).rules()
    for node in redis_cluster.nodes:
        with node.client() as client:
            client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">s3cret", *rules)
            client.execute_command("ACL", "LOG", "RESET")
    url = redis_cluster.fresh_url().replace(f":{redis_cluster.password}@", "shop:s3cret@")
    with running(tmp_path, url) as system:
        system.web()
        system.worker("--beat", "--concurrency", "2")
        assert system.python(CHORD).strip() == "end"
        redis_cluster.fail_over()
        assert system.python(CHORD).strip() == "end"
        assert "worker@test" in system.cli("workers").stdout
        doctor = {row["check"]: row for row in json.loads(system.cli("doctor", "--json", ok=False).stdout)}
        assert doctor["permissions"]["level"] == "ok", doctor
    refused = set()
    for node in redis_cluster.nodes:
        with node.client() as client:
            refused |= {entry["object"] for entry in client.acl_log()}
    assert refused - {"config|get", "client|setinfo"} == set()


@pytest.mark.thorough
@pytest.mark.timeout(180)
def test_a_move_that_takes_longer_than_a_lease(system: System, redis_cluster: RedisCluster) -> None:
    """Hundreds of keys; half of them are at the target when the leases run out. No job runs twice, and none is lost."""
    system.web()
    for name in ("one", "two"):
        system.worker("--concurrency", "2", name=name)
    system.enqueue("test.succeed", "held", 5)
    system.until(lambda: system.events("held"), 30, "it has not begun")
    assert system.python(MANY).strip() == str(MANY_JOBS)
    source, target = redis_cluster.begin_move()
    assert redis_cluster.move_keys(source, target, MANY_JOBS // 2)
    until = time.monotonic() + LEASE_SECONDS + 5
    wait_for(lambda: time.monotonic() > until, LEASE_SECONDS + 10, "time stands still")
    redis_cluster.end_move(source, target)
    names = ["held", *(f"unique-{number}" for number in range(MANY_JOBS))]

    def all_done() -> bool:
        lines = Counter(system.ledger.read_text().splitlines())
        return all(lines[f"{name} done"] for name in names)

    system.until(all_done, 90, "jobs are lost")
    lines = Counter(system.ledger.read_text().splitlines())
    assert {name: lines[f"{name} begun"] for name in names if lines[f"{name} begun"] != 1} == {}
    with redis_cluster.client() as client:
        wait_for(lambda: not [*client.scan_iter("*nightshift:lock:*", count=1000)], 20, "locks are left")


MANY_JOBS = 400
MANY = f"""
import jobsapp
app = jobsapp.create_app()
with app.app_context():
    task = app.extensions["celery"].tasks["test.succeed"]
    for number in range({MANY_JOBS}):
        name = f"unique-{{number}}"
        task.apply_async((name,), unique="until_done", unique_key=name, countdown=5)
print({MANY_JOBS})
"""
