"""``celery -A … worker`` with all its defaults (gossip, mingle, heartbeat) starts our worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flask_nightshift.brokers.redis.transport.keys import KeySpace
from remote_control import RemoteControl, remote_control

POOLS = {
    "prefork": "flask_nightshift.worker.pools.prefork:JobPool",
    "solo": "flask_nightshift.worker.pools.solo:JobSolo",
    "threads": "flask_nightshift.worker.pools.threads:JobThreads",
}


@pytest.fixture(params=["valkey", "rabbitmq"], scope="module")
def broker(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def control(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteControl]:
    """A worker of each pool, at a queue of the pool's name."""
    with remote_control(tmp_path_factory.mktemp("control"), broker.fresh_url()) as made:
        system = made.system
        for worker in [
            system.celery_worker("-P", pool, "-c", "2", "-Q", pool, name=pool, wait=False) for pool in POOLS
        ]:
            system.until_ready(worker)
        yield made


@pytest.mark.parametrize("pool", POOLS)
def test_our_transport_and_our_parts_are_in_use(control: RemoteControl, broker: Any, pool: str) -> None:
    assert control.ask("stats", f"{pool}@test")["pool"]["implementation"] == POOLS[pool]
    (held,) = control.hold(1, queue=pool)
    if broker.program == "valkey":
        with broker.client() as client:
            assert client.hget(KeySpace().leased, pool) == b"1"
            assert client.keys(f"{KeySpace().lease('')}*")
    held.go_on()
    held.ran_once()
    again, dead = control.send("flaky", 1, queue=pool), control.send("permanent", queue=pool)
    control.until(lambda: again.state == "succeeded", "it is not retried")
    assert again.begun == 2
    dead.died("permanent")
    if pool == "prefork":
        endless = control.send("hang", queue=pool)
        endless.died("exhausted")
        assert endless.begun == 2


def test_a_pool_that_scales_itself_and_knows_what_was_revoked_before(control: RemoteControl) -> None:
    revoked = control.send("succeed", queue="scaled")
    control.ask("revoke", "prefork@test", task_id=[revoked.id])
    control.system.celery_worker(
        "--autoscale", "4,1", "--queues", "scaled", name="scaled", AUTOSCALE_KEEPALIVE="1"
    )
    revoked.was_revoked(begun=0)  # it asked the others when it started

    def children() -> int:
        return len(control.ask("stats", "scaled@test")["pool"]["processes"])

    for _ in range(2):
        held = control.hold(4, queue="scaled")
        assert children() == 4
        for job in held:
            job.go_on()
        for job in held:
            job.ran_once()
        control.until(lambda: children() == 1, "it does not shrink")
    jobs = [control.send("succeed", queue="scaled") for _ in range(30)]
    for job in jobs:
        job.ran_once()


def test_a_busy_solo_worker_keeps_its_job_and_takes_no_other(control: RemoteControl, broker: Any) -> None:
    """With a lease, or a heartbeat of RabbitMQ's, that is shorter than the job."""
    system = control.system
    short: dict[str, Any] = {"broker_heartbeat": 1}
    if broker.program == "valkey":
        short = {"broker_transport_options": {"lease_seconds": 2.0, "lease_renew_seconds": 0.4}}
    long, next_ = control.send("nap", 15, queue="both"), control.send("succeed", queue="both")
    solo = system.worker(
        "--pool", "solo", "--queues", "both", name="busy", wait=False, NIGHTSHIFT_CELERY=json.dumps(short)
    )
    control.until(lambda: long.begun, "it does not begin")
    system.worker("--concurrency", "1", "--queues", "both", name="idle")
    next_.ran_once()
    assert "done" not in long.events
    long.ran_once()
    assert solo.stop() == 0
    control.send("succeed", queue="both").ran_once()
    assert long.begun == 1
