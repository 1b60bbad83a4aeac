"""Redis and Valkey only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from broker_harness import Harness, a_job, make_harness
from flask_nightshift.brokers.base import PUBLISH_TIMEOUT
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable, ConfigurationError
from flask_nightshift.message.burial import DEAD_QUEUE
from servers import RedisServer, free_port, wait_for


@pytest.fixture
def harness(redis_server: RedisServer) -> Iterator[Harness]:
    with make_harness("redis", redis_server) as made:
        yield made


def levels(harness: Harness, limit: float | None = 60) -> dict[str, str]:
    return {f.check: f.level for f in harness.broker.diagnose(longest_time_limit=limit, queues=[])}


@pytest.fixture
def configured(redis_server: RedisServer) -> Iterator[Any]:
    """Sets a configuration value; all are put back."""
    client = redis_server.client()
    before: dict[str, Any] = {}

    def configure(name: str, value: str) -> None:
        before.setdefault(name, client.config_get(name)[name])
        client.config_set(name, value)

    yield configure
    for name, value in before.items():
        client.config_set(name, value)


def test_doctor_finds_a_server_that_evicts(harness: Harness, configured: Any) -> None:
    configured("maxmemory-policy", "allkeys-lru")

    (finding,) = [
        f for f in harness.broker.diagnose(longest_time_limit=60, queues=[]) if f.check == "eviction"
    ]

    assert finding.level == "error"
    assert "allkeys-lru" in finding.message
    assert "noeviction" in finding.remedy


def test_doctor_finds_a_server_that_forgets(harness: Harness, configured: Any) -> None:
    configured("appendonly", "no")
    assert levels(harness)["persistence"] == "error"

    configured("save", "60 1")
    assert levels(harness)["persistence"] == "warning"


def test_doctor_finds_a_server_that_is_nearly_full(harness: Harness, configured: Any) -> None:
    used = harness.server.client().info("memory")["used_memory"]
    configured("maxmemory", str(int(used * 1.1)))

    assert levels(harness)["memory"] in ("warning", "error")


def test_doctor_finds_a_master_that_accepts_jobs_alone(harness: Harness, configured: Any) -> None:
    assert "replicas" not in levels(harness), "it has none"
    server: Any = harness.server
    replica = type(server)()
    replica.start()
    try:
        with replica.client() as client:
            client.config_set("masterauth", server.password)
            client.replicaof("127.0.0.1", server.port)
            wait_for(lambda: client.info("replication")["master_link_status"] == "up", 20, "no replica")
        assert levels(harness)["replicas"] == "warning"
        configured("min-replicas-to-write", "1")
        assert levels(harness)["replicas"] == "ok"
    finally:
        replica.close()


def test_a_full_server_refuses_a_job_with_an_error(harness: Harness, configured: Any) -> None:
    configured("maxmemory", "1mb")  # less than the server needs for itself

    with pytest.raises(BrokerUnavailable, match="maxmemory"):
        harness.broker.publish(a_job(), harness.queue)


def test_doctor_says_what_it_may_not_look_at(redis_server: RedisServer) -> None:
    redis_server.client().execute_command(
        "ACL", "SETUSER", "shop", "on", ">s3cret-acl", "~*", "&*", "+@all", "-config"
    )
    url = redis_server.fresh_url().replace(":s3cret-redis@", "shop:s3cret-acl@")
    with make_harness("redis", redis_server, NIGHTSHIFT_BROKER_URL=url) as harness:
        found = {f.check: f for f in harness.broker.diagnose(longest_time_limit=60, queues=[])}

        assert found["eviction"].level == "ok"  # INFO tells it too
        assert found["persistence"].level == "ok"
        harness.broker.publish(a_job(), harness.queue)


def test_doctor_finds_a_job_longer_than_the_visibility_timeout(redis_server: RedisServer) -> None:
    with make_harness("kombu", redis_server) as harness:
        assert levels(harness, 60)["visibility_timeout"] == "ok"
        assert levels(harness, None)["visibility_timeout"] == "error"
        assert levels(harness, 86_400)["visibility_timeout"] == "error"


def test_a_wrong_password_is_an_error_that_does_not_show_it(redis_server: RedisServer) -> None:
    url = redis_server.url.replace("s3cret-redis", "s3cret-wrong")
    with (
        make_harness("redis", redis_server, NIGHTSHIFT_BROKER_URL=url) as harness,
        pytest.raises(BrokerUnavailable) as caught,
    ):
        harness.broker.publish(a_job(), harness.queue)
    assert "s3cret" not in str(caught.value)
    assert "AccessRefused" in str(caught.value)


def test_a_global_key_prefix_is_kept_to(redis_server: RedisServer) -> None:
    options = {"broker_transport_options": {"global_keyprefix": "shop:"}}
    with make_harness("redis", redis_server, NIGHTSHIFT_CELERY=options) as harness:
        harness.broker.publish(a_job(), harness.queue)
        harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=60))
        harness.broker.publish(a_job(), DEAD_QUEUE)

        keys = {key.decode() for key in redis_server.client().scan_iter()}
        assert all(key.startswith("shop:") for key in keys)
        (depth,) = harness.broker.depths([harness.queue])
        assert (depth.ready, depth.delayed) == (1, 1)
        assert len(harness.broker.take_dead_letters()) == 1
        assert harness.broker.purge(harness.queue) == 2


def test_two_servers_are_not_one_broker(redis_server: RedisServer) -> None:
    url = f"{redis_server.url};{redis_server.url}"
    with pytest.raises(ConfigurationError, match="one server"):
        make_harness("redis", redis_server, NIGHTSHIFT_BROKER_URL=url).__enter__()


def test_sentinel_needs_the_name_of_its_master(redis_server: RedisServer) -> None:
    with pytest.raises(ConfigurationError, match="master_name"):
        make_harness("redis", redis_server, NIGHTSHIFT_BROKER_URL="sentinel://127.0.0.1:1").__enter__()


class Sentinel(RedisServer):
    """A Sentinel that watches one server under the name ``jobs``."""

    program = "redis-sentinel"

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        (self.home / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor jobs 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass jobs {master.password}\n"
        )

    @property
    def url(self) -> str:
        return f"sentinel://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [self.binary(), str(self.home / "sentinel.conf"), "--sentinel"]

    def client(self, url: str | None = None) -> Any:
        return super().client(f"redis://127.0.0.1:{self.port}")

    def ping(self) -> Any:
        with self.client() as client:
            return client.sentinel_get_master_addr_by_name("jobs") if client.ping() else None


@pytest.fixture
def sentinel(redis_server: RedisServer) -> Iterator[Sentinel]:
    server = Sentinel(redis_server)
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize("transport", ["redis", "kombu"])
def test_jobs_travel_through_sentinel(redis_server: RedisServer, sentinel: Sentinel, transport: str) -> None:
    redis_server.fresh_url()
    gone = sentinel.url.replace(str(sentinel.port), str(free_port()))
    options = {"broker_transport_options": {"master_name": "jobs"}}
    with make_harness(
        transport,
        redis_server,
        NIGHTSHIFT_BROKER_URL=f"{gone};{sentinel.url}",
        NIGHTSHIFT_CELERY=options,
    ) as harness:
        job = a_job()
        started = time.monotonic()
        harness.broker.publish(job, harness.queue)
        assert time.monotonic() - started < PUBLISH_TIMEOUT
        assert harness.broker.depths([harness.queue])[0].ready == 1
        assert harness.broker.health().product == "Redis"
        with harness.consumer() as receive:
            message = receive()
            assert message.headers["id"] == job.headers["id"]
            message.ack()


def test_a_frozen_sentinel_costs_no_more_than_the_time_to_publish(
    redis_server: RedisServer, sentinel: Sentinel
) -> None:
    options = {"broker_transport_options": {"master_name": "jobs"}}
    urls = ";".join([sentinel.url] * 3)
    with make_harness(
        "redis", redis_server, NIGHTSHIFT_BROKER_URL=urls, NIGHTSHIFT_CELERY=options
    ) as harness:
        sentinel.freeze()
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            harness.broker.publish(a_job(), harness.queue)
        assert time.monotonic() - started < PUBLISH_TIMEOUT


class TlsRedis(RedisServer):
    """Redis behind TLS with a certificate of its own."""

    program = "redis-tls"

    def __init__(self) -> None:
        super().__init__()
        self.certificate = self.home / "server.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", self.home / "server.key", "-out", self.certificate],
            check=True, capture_output=True,
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"rediss://:{self.password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        plain = super().command()
        at = plain.index("--port")
        return [
            *plain[:at], "--port", "0", *plain[at + 2 :], "--tls-port", str(self.port), "--tls-auth-clients", "no",
            "--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.home / "server.key"),
        ]  # fmt: skip

    def client(self, url: str | None = None) -> Any:
        return super().client(f"{self.url}?ssl_ca_certs={self.certificate}")


@pytest.fixture(scope="module")
def tls() -> Iterator[TlsRedis]:
    server = TlsRedis()
    server.start()
    yield server
    server.close()


def test_tls_with_a_certificate_that_is_known(tls: TlsRedis) -> None:
    url = f"{tls.url}?ssl_cert_reqs=required&ssl_ca_certs={tls.certificate}"
    with make_harness("redis", tls, NIGHTSHIFT_BROKER_URL=url) as harness:
        harness.broker.publish(a_job(), harness.queue)
        assert harness.broker.depths([harness.queue])[0].ready == 1
        with harness.consumer() as receive:
            receive().ack()


def test_tls_with_an_unknown_certificate_is_refused(tls: TlsRedis) -> None:
    with make_harness("redis", tls, NIGHTSHIFT_BROKER_URL=tls.url) as harness:
        with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
            harness.broker.publish(a_job(), harness.queue)
        with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
            harness.broker.depths([harness.queue])


def test_a_server_that_restarts_is_used_again_at_once(harness: Harness) -> None:
    """An idle connection to the server that was is no reason to fail."""
    harness.broker.publish(a_job(), harness.queue)
    harness.broker.depths([harness.queue])
    harness.server.stop()
    harness.server.start()

    harness.broker.publish(a_job(), harness.queue)

    assert harness.broker.depths([harness.queue])[0].ready == 2


def test_a_prefetched_dead_letter_list_is_shared_by_two_workers(redis_server: RedisServer) -> None:
    url = redis_server.fresh_url()
    with (
        make_harness("redis", redis_server, NIGHTSHIFT_BROKER_URL=url) as one,
        make_harness("redis", redis_server, NIGHTSHIFT_BROKER_URL=url) as two,
    ):
        for _ in range(3):
            one.broker.publish(a_job(), DEAD_QUEUE)
        first, second = one.broker.take_dead_letters(), two.broker.take_dead_letters()
        assert [t.letter.id for t in first] == [t.letter.id for t in second]

        for taken in (*first, *second):
            taken.done()

        wait_for(lambda: one.broker.depths([DEAD_QUEUE])[0].ready == 0, 2, "an empty list")


def test_the_transport_is_kept_when_kombu_goes_on_to_the_next_url(harness: Harness) -> None:
    connection = harness.connection()
    wanted = connection.get_transport_cls()
    connection.switch("redis://127.0.0.1:1/0")
    assert connection.get_transport_cls() is wanted
    assert connection.clone().get_transport_cls() is wanted
