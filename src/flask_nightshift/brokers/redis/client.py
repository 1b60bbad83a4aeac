"""A redis-py client for one broker URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from kombu.utils.url import parse_url, url_to_parts
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import Sentinel

from ...errors import ConfigurationError
from ..causes import CLUSTER
from .transport.slot_connection import SlotConnection, SSLSlotConnection
from .transport.slot_owner import owner_of

SENTINEL_PORT = 26379


def connect(url: str, options: Mapping[str, Any], tls: Mapping[str, Any] | None, step: float) -> redis.Redis:
    """Make a client of the server that kombu connects to; no network step takes longer than ``step`` seconds.

    Of several URLs, separated by ``;``, it uses the first, as kombu does; those of Sentinels name one master.
    """
    limits: dict[str, Any] = {
        "socket_timeout": step,
        "socket_connect_timeout": step,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("sentinel:"):
        url = url.partition(";")[0]
    scheme, _, rest = url.partition("://")
    address = rest.partition("?")[0]  # the query uses kombu's names, which redis-py would misread as its own
    if scheme == "sentinel":
        return _master(url, options, {**limits, **({**tls, "ssl": True} if tls else {})})
    if scheme == "redis+socket":
        database = int(url_to_parts(url).query.get("virtual_host") or 0)
        return redis.Redis.from_url(f"unix://{address}", db=database, **limits)
    if scheme == "rediss":
        tls = {**(tls or {}), **parse_url(url).get("ssl", {})}
    elif tls:
        scheme = "rediss"
    return redis.Redis.from_url(f"{scheme}://{address}", host="127.0.0.1", **limits, **(tls or {}))


def connect_to_owner(
    url: str, nodes: Sequence[tuple[str, int]], tag: str, tls: Mapping[str, Any] | None, step: float
) -> redis.Redis:
    """Make a client of the node of a cluster that owns the slot of ``tag``; ``url`` is that of one node."""
    given = parse_url(url)
    tls = {**(tls or {}), **given.get("ssl", {})} if url.startswith("rediss:") or tls else {}
    pool = redis.ConnectionPool(
        connection_class=SSLSlotConnection if tls else SlotConnection,
        owner=owner_of(nodes, tag),
        username=given["userid"],
        password=given["password"],
        socket_timeout=step,
        socket_connect_timeout=step,
        retry=Retry(NoBackoff(), 0),
        **tls,
    )
    client = redis.Redis(connection_pool=pool)
    client.auto_close_connection_pool = True
    return client


def product(client: redis.Redis, *, cluster: bool = False) -> tuple[str, str]:
    """``("Valkey", "9.1.0")`` or ``("Redis", "7.0.15")``; no version where the server does not let us ask.

    Raises ``ConfigurationError`` for a node of a cluster, unless it is used as a ``cluster``.
    """
    info = server_info(client, "server")
    if info is None:
        return "Redis or Valkey", ""
    if not cluster and "cluster" in (info.get("redis_mode"), info.get("server_mode")):
        raise ConfigurationError("NIGHTSHIFT_BROKER_URL", "***", CLUSTER)
    if info.get("server_name") == "valkey" or "valkey_version" in info:
        return "Valkey", str(info.get("valkey_version", ""))
    return "Redis", str(info.get("redis_version", ""))


def server_info(client: redis.Redis, section: str) -> dict[str, Any] | None:
    """A section of ``INFO``; None where the server does not let us ask, as managed ones do."""
    try:
        info: Any = client.info(section)
    except ResponseError:
        return None
    return dict(info)


def _master(url: str, options: Mapping[str, Any], common: dict[str, Any]) -> redis.Redis:
    nodes = [url_to_parts(part) for part in url.split(";")]
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        [(node.hostname, node.port or SENTINEL_PORT) for node in nodes],
        min_other_sentinels=options.get("min_other_sentinels", 0),
        sentinel_kwargs=dict(options.get("sentinel_kwargs") or {}),
    )
    first = nodes[0]
    client: redis.Redis = sentinel.master_for(
        str(options["master_name"]),
        db=int((first.path or "0").strip("/") or 0),
        username=first.username,
        password=first.password,
        **common,
    )
    return client
