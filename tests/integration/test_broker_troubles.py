"""The error for a broker that cannot be used names the cause and the setting to change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_nightshift import BrokerUnavailable
from opsapp import opened
from servers import RabbitMQ, RedisServer, free_port, wait_for
from system import running

KEY = "NIGHTSHIFT_BROKER_URL"
TROUBLES = [
    ("redis_server", ":s3cret-redis@", ":wrong@", "refuses the user or the password"),
    ("redis_server", ":s3cret-redis@", "", "refuses the user or the password"),
    ("redis_server", ":s3cret-redis@", "nobody:s3cret-redis@", "refuses the user or the password"),
    ("redis_server", "redis://", "rediss://", "does not speak TLS"),
    ("redis_server", "/0", "/6400", "no database of that number"),
    ("redis_server", "127.0.0.1", "no-such-host.invalid", "no such host"),
    ("redis_server", "PORT", "1", "nothing listens there"),
    ("rabbitmq", "s3cret-rabbit", "wrong", "refuses the user or the password"),
    ("rabbitmq", "VHOST", "nowhere", "no such virtual host"),
    ("rabbitmq", "amqp://", "amqps://", "does not speak TLS"),
    ("rabbitmq", "127.0.0.1", "no-such-host.invalid", "no such host"),
    ("rabbitmq", "PORT", "1", "nothing listens there"),
]


@pytest.mark.parametrize(("broker", "old", "new", "cause"), TROUBLES)
def test_each_cause_has_its_own_error(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str, old: str, new: str, cause: str
) -> None:
    server = request.getfixturevalue(broker)
    url = server.fresh_url()
    old = {"PORT": str(server.port), "VHOST": url.rpartition("/")[2]}.get(old, old)
    with opened(tmp_path, url.replace(old, new), migrate=False) as ops, ops.app.app_context():
        for use in (ops.send.delay, ops.services.broker.health, lambda: ops.services.broker.depths(["mail"])):
            with pytest.raises(BrokerUnavailable) as caught:
                use()
            assert cause in str(caught.value)
            assert KEY in str(caught.value)
            assert "s3cret" not in str(caught.value)
        found = [x for x in json.loads(ops.run("doctor", "--json").stdout) if x["check"] == "broker"]
        assert any(x["level"] == "error" and cause in x["message"] and KEY in x["message"] for x in found)
        health = ops.run("health", "--part", "broker")
        assert health.exit_code == 1
        assert cause.split()[0] in health.output


class Cluster(RedisServer):
    """A Redis Cluster of one node."""

    def command(self) -> list[str]:
        bus = str(free_port())  # else 10,000 above the port, which may be too high
        return [*super().command()[:-2], "--cluster-enabled", "yes", "--cluster-port", bus]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    server = Cluster()
    server.start()
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_for(lambda: client.cluster("info")["cluster_state"] == "ok", 10, "no cluster")
    yield server
    server.close()


def test_a_node_of_a_cluster_needs_its_own_scheme(cluster: Cluster, tmp_path: Path) -> None:
    with opened(tmp_path, cluster.url, migrate=False) as ops, ops.app.app_context():
        found = [x for x in json.loads(ops.run("doctor", "--json").stdout) if x["level"] == "error"]
        assert any("write redis+cluster://" in x["message"] + x["remedy"] for x in found)
    with running(tmp_path, cluster.url) as system:
        done = system.cli("worker", ok=False)
        assert done.returncode == 1
        assert "write redis+cluster://" in done.stderr
        system.env["NIGHTSHIFT_BROKER_URL"] = "redis+cluster://127.0.0.1:1/2"
        done = system.cli("doctor", ok=False)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "only database 0" in done.stderr


def test_one_server_is_no_cluster(redis_server: RedisServer, tmp_path: Path) -> None:
    url = redis_server.url.replace("redis://", "redis+cluster://")
    says = "write redis:// in place of redis+cluster://"
    with opened(tmp_path, url, migrate=False) as ops, ops.app.app_context():
        with pytest.raises(BrokerUnavailable, match=re.escape(says)):
            ops.send.delay()
        found = [x for x in json.loads(ops.run("doctor", "--json").stdout) if x["level"] == "error"]
        assert any(says in x["message"] for x in found)
    with running(tmp_path, url) as system:
        done = system.cli("worker", ok=False)
        assert done.returncode == 1
        assert says in done.stderr


def test_a_managed_server_that_tells_nothing_about_itself_is_healthy(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """``INFO``, ``CONFIG`` and ``CLIENT`` are often not allowed there."""
    redis_server.client().execute_command(
        "ACL", "SETUSER", "managed", "reset", "on", ">s3cret-acl", "~*", "&*", "+@all", "-info", "-config", "-client",
        "-debug", "-acl",
    )  # fmt: skip
    url = redis_server.fresh_url().replace(":s3cret-redis@", "managed:s3cret-acl@")
    with running(tmp_path, url) as system:
        system.worker("--concurrency", "1")
        system.web()
        assert system.http is not None
        system.until_state(system.enqueue("test.succeed", "managed"), "succeeded")
        ready = system.http.get("/health/ready?part=broker")
        assert ready.status_code == 200, ready.text
        found = json.loads(system.cli("doctor", "--json", ok=False).stdout)
        bad = [
            x for x in found if x["level"] in ("error", "warning") and x["check"] not in ("beat", "queues")
        ]
        assert bad == []
        told = {x["check"]: x["message"] for x in found if x["level"] == "info"}
        for check in ("version", "eviction", "persistence", "memory"):
            assert "does not allow" in told[check]


@pytest.mark.parametrize(
    ("policy", "level", "says"),
    [
        ("noeviction", "ok", "noeviction"),
        ("volatile-lru", "warning", "keeps the jobs"),
        ("volatile-ttl", "warning", "keeps the jobs"),
        ("allkeys-lru", "error", "deletes jobs"),
    ],
)
def test_the_doctor_reports_eviction_correctly(
    redis_server: RedisServer, tmp_path: Path, policy: str, level: str, says: str
) -> None:
    with opened(tmp_path, redis_server.fresh_url(), migrate=False) as ops, redis_server.client() as client:
        client.config_set("maxmemory-policy", policy)
        try:
            found = {f.check: f for f in ops.services.broker.diagnose(longest_time_limit=60, queues=[])}
        finally:
            client.config_set("maxmemory-policy", "noeviction")
        assert found["eviction"].level == level
        assert says in found["eviction"].message


def test_a_full_server_with_a_volatile_policy_keeps_jobs(redis_server: RedisServer, tmp_path: Path) -> None:
    """What the doctor says of it: jobs never expire, so only results and the like are deleted."""
    with (
        opened(tmp_path, redis_server.fresh_url()) as ops,
        redis_server.client() as client,
        ops.app.app_context(),
    ):
        client.config_set("maxmemory-policy", "volatile-lru")
        try:
            for number in range(20):
                ops.send.delay(number)
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
            with pytest.raises(BrokerUnavailable, match="it is full"):
                ops.send.enqueue_many([(number,) for number in range(2000)], headers={"padding": "x" * 2000})
            assert ops.services.broker.depths(["mail"])[0].ready >= 20
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")


def test_rabbitmq_s_missing_permissions_have_their_own_errors(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    url = rabbitmq.fresh_url()
    vhost = url.rpartition("/")[2]
    rabbitmq.erl('rabbit_auth_backend_internal:add_user(<<"guest1">>, <<"s3cret-guest">>, <<"t">>)')
    url = url.replace("shop:s3cret-rabbit", "guest1:s3cret-guest")
    with opened(tmp_path, url, migrate=False) as ops, ops.app.app_context():
        with pytest.raises(BrokerUnavailable, match="may not use that virtual host"):
            ops.send.delay()
        nothing = ", ".join(['<<"^$">>'] * 3)
        rabbitmq.erl(
            f'rabbit_auth_backend_internal:set_permissions(<<"guest1">>, <<"{vhost}">>, {nothing}, <<"t">>)'
        )
        with pytest.raises(BrokerUnavailable, match="lacks a permission"):
            ops.send.delay()
