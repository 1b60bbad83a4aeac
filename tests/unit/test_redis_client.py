"""Which server, database and user our own client of Redis gets from a URL that kombu reads too."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from flask_nightshift.brokers.redis.client import connect

REQUIRED = {"ssl_cert_reqs": "required"}


def connection(url: str, tls: dict[str, Any] | None = None, **options: Any) -> Any:
    """What the client of ``url`` would connect with, unconnected."""
    return connect(url, options, tls, 2.5).connection_pool.make_connection()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, 0, None, None)),
        ("redis:///4", ("127.0.0.1", 6379, 4, None, None)),
        ("redis://u%40x:p%2Fw@h:7/2/", ("h", 7, 2, "u@x", "p/w")),
        ("redis://:pw@[::1]:7/1?db=5&health_check_interval=9", ("::1", 7, 1, None, "pw")),
        ("redis://a:6380/3;redis://b:6380/4", ("a", 6380, 3, None, None)),
        ("redis://a:6380;redis://b:6380", ("a", 6380, 0, None, None)),
    ],
)
def test_a_server(url: str, expected: tuple[Any, ...]) -> None:
    found = connection(url)
    assert (found.host, found.port, found.db, found.username, found.password) == expected
    assert (found.socket_timeout, found.socket_connect_timeout) == (2.5, 2.5)


def test_a_unix_socket() -> None:
    found = connection("redis+socket://u:pw@/a%20b/s?virtual_host=3")
    assert (found.path, found.db, found.username, found.password) == ("/a b/s", 3, "u", "pw")
    first = connection("redis+socket:///a.sock?virtual_host=2;redis+socket:///b.sock")
    assert (first.path, first.db) == ("/a.sock", 2)
    assert (found.socket_timeout, found.socket_connect_timeout) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("url", "tls", "expected"),
    [
        ("rediss://h", REQUIRED, ssl.CERT_REQUIRED),
        ("redis://h", REQUIRED, ssl.CERT_REQUIRED),
        ("rediss://h?ssl_cert_reqs=CERT_OPTIONAL", None, ssl.CERT_OPTIONAL),
        ("rediss://h?ssl_cert_reqs=optional", {"ssl_ca_certs": "/ca"}, ssl.CERT_OPTIONAL),
    ],
)
def test_tls(url: str, tls: dict[str, Any] | None, expected: ssl.VerifyMode) -> None:
    found = connection(url, tls)
    assert (found.cert_reqs, found.ca_certs) == (expected, (tls or {}).get("ssl_ca_certs"))


def test_sentinel() -> None:
    url = "sentinel://:pw@a:1/2;sentinel://b"
    found: Any = connect(url, {"master_name": "m"}, None, 2.5).connection_pool
    nodes = [node.connection_pool.connection_kwargs for node in found.sentinel_manager.sentinels]
    assert [(node["host"], node["port"]) for node in nodes] == [("a", 1), ("b", 26379)]
    assert (found.connection_kwargs["db"], found.connection_kwargs["password"]) == (2, "pw")


def test_sentinel_with_tls() -> None:
    assert connection("sentinel://a", REQUIRED, master_name="m").cert_reqs == ssl.CERT_REQUIRED
