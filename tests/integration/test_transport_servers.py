"""Other ways to reach a server: Sentinel, TLS, a unix socket."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from kombu import Producer

from flask_nightshift.brokers.connections import Connection
from redis_servers import Group, OnSocket, Secure
from servers import wait_for
from transport_support import QUEUE, TRANSPORT, Reader

SENTINEL_TRANSPORT = "flask_nightshift.transport:SentinelTransport"


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
    group = Group(started)
    options = {"master_name": "shop", "socket_timeout": 2, "socket_connect_timeout": 1}

    def connect() -> Any:
        return Connection(group.sentinel.url, transport=SENTINEL_TRANSPORT, transport_options=options)

    assert connect().as_uri().startswith("sentinel://")
    _works(connect())
    connection = connect()
    reader = Reader(connection, (QUEUE,), 5)
    Producer(connection.channel()).publish("before", exchange="", routing_key=QUEUE)
    message = reader.next()
    group.replicated()
    key, held = f"nightshift:lease:{reader.lease.id}", group.replica.client()
    assert held.hlen(key) == 1
    group.master.kill()
    group.switched()
    with suppress(*connection.connection_errors):
        reader.within(1)
    message.ack()  # over the lease's own connection, which finds the new master
    wait_for(lambda: held.hlen(key) == 0, 10, "not acknowledged")
    connection.collect()
    _works(connect())


def test_tls(started: Any) -> None:
    server = started(Secure())
    trusting = {"ssl_cert_reqs": "required", "ssl_ca_certs": server.certificate}
    _works(Connection(server.url, transport=TRANSPORT, ssl=trusting))
    suspicious = Connection(server.url, transport=TRANSPORT, ssl={"ssl_cert_reqs": "required"})
    with pytest.raises(suspicious.connection_errors, match=r"(?i)certificate"):
        suspicious.transport.create_channel(suspicious.transport)


def test_a_unix_socket(started: Any) -> None:
    connection = Connection(started(OnSocket()).url, transport=TRANSPORT)
    assert "s3cret" not in connection.as_uri()
    _works(connection)
    assert type(connection.get_transport_cls()).__name__ == "type"
    assert connection.get_transport_cls().__module__.startswith("flask_nightshift.brokers.redis.transport")
