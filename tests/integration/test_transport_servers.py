"""Other ways to reach a server: Sentinel, TLS, a unix socket."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from kombu import Producer
from transport_support import QUEUE, TRANSPORT, Reader

from flask_nightshift.brokers.link import Connection
from servers import RedisServer, Server, Valkey, wait_for

SENTINEL_TRANSPORT = "flask_nightshift.transport:SentinelTransport"


class Node(Valkey):
    """A Valkey that knows the master's password too."""

    def command(self) -> list[str]:
        return [*super().command(), "--masterauth", self.password]


class SentinelNode(RedisServer):
    """A Sentinel that watches ``master``."""

    program = "sentinel"

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self.settings = self.home / "sentinel.conf"
        self.settings.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.home}\n"
            f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
            f"sentinel auth-pass shop {master.password}\n"
            "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000\n"
        )

    def binary(self) -> str:
        return Valkey().binary()

    def command(self) -> list[str]:
        return [self.binary(), str(self.settings), "--sentinel"]

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(port=self.port, socket_timeout=5)


class Secure(RedisServer):
    """A Redis that speaks TLS only; the Valkey at hand was built without."""

    def command(self) -> list[str]:
        plain = [part if part != "--port" else "--tls-port" for part in super().command()]
        files = {"cert": "server.crt", "key": "server.key", "ca-cert": "server.crt"}
        options = [
            word for name, file in files.items() for word in (f"--tls-{name}-file", str(self.home / file))
        ]
        return [*plain, "--port", "0", *options, "--tls-auth-clients", "no"]

    def start(self) -> Server:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", self.home / "server.key",
             "-out", self.home / "server.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        return super().start()

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(
            port=self.port, password=self.password, ssl=True, ssl_ca_certs=str(self.home / "server.crt")
        )


@pytest.fixture
def started() -> Iterator[Any]:
    """Start a server that is closed after the test."""
    servers: list[Server] = []

    def start(server: Server) -> Any:
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


def _works(connection: Any) -> None:
    with connection:
        Producer(connection.channel()).publish("a", exchange="", routing_key=QUEUE)
        reader = Reader(connection, (QUEUE,), 5)
        message = reader.next()
        assert message.payload == "a"
        assert reader.replace(message, "b")
        reader.next().ack()
        wait_for(lambda: not reader.lease.acks.unconfirmed(), 2, "not acknowledged")


def test_sentinel_and_a_failover(started: Any) -> None:
    master, replica = started(Node()), started(Node())
    replica.client().replicaof("127.0.0.1", master.port)
    wait_for(lambda: replica.client().info("replication")["master_link_status"] == "up", 10, "no replica")
    sentinel = started(SentinelNode(master))
    wait_for(lambda: sentinel.client().sentinel_slaves("shop"), 15, "Sentinel sees no replica")
    url = f"sentinel://:{master.password}@127.0.0.1:{sentinel.port}"
    options = {"master_name": "shop", "socket_timeout": 2, "socket_connect_timeout": 1}

    def connect() -> Any:
        return Connection(url, transport=SENTINEL_TRANSPORT, transport_options=options)

    assert connect().as_uri().startswith("sentinel://")
    _works(connect())
    connection = connect()
    reader = Reader(connection, (QUEUE,), 5)
    Producer(connection.channel()).publish("before", exchange="", routing_key=QUEUE)
    message = reader.next()
    wait_for(lambda: replica.client().hlen(f"nightshift:lease:{reader.lease.id}") == 1, 5, "not replicated")
    master.kill()
    wait_for(lambda: replica.client().info("replication")["role"] == "master", 20, "no failover")
    with suppress(*connection.connection_errors):
        reader.within(1)
    message.ack()  # over the lease's own connection, which finds the new master
    wait_for(
        lambda: replica.client().hlen(f"nightshift:lease:{reader.lease.id}") == 0, 10, "not acknowledged"
    )
    connection.collect()
    _works(connect())


def test_tls(started: Any) -> None:
    server = started(Secure())
    url = f"rediss://:{server.password}@localhost:{server.port}/0"
    trusting = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(server.home / "server.crt")}
    _works(Connection(url, transport=TRANSPORT, ssl=trusting))
    suspicious = Connection(url, transport=TRANSPORT, ssl={"ssl_cert_reqs": "required"})
    with pytest.raises(suspicious.connection_errors, match=r"(?i)certificate"):
        suspicious.transport.create_channel(suspicious.transport)


def test_a_unix_socket(started: Any) -> None:
    class OnSocket(Valkey):
        def command(self) -> list[str]:
            return [*super().command(), "--unixsocket", str(self.home / "s")]

    server = started(OnSocket())
    url = f"redis+socket://:{server.password}@{server.home}/s?virtual_host=3"
    connection = Connection(url, transport=TRANSPORT)
    assert "s3cret" not in connection.as_uri()
    _works(connection)
    assert type(connection.get_transport_cls()).__name__ == "type"
    assert connection.get_transport_cls().__module__.startswith("flask_nightshift.transport")
