"""Reads the URL of a Redis Cluster: ``redis+cluster://user:password@host:port,host:port``."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEMES = ("redis+cluster", "rediss+cluster")
DEFAULT_PORT = 6379


def is_cluster(url: str) -> bool:
    """Whether ``url`` names a Redis Cluster."""
    return url.partition("://")[0] in SCHEMES


def first_url(url: str) -> str:
    """The URL of the first node alone: ``redis://user:password@host:port/0``, or ``rediss://``."""
    scheme, _, rest = url.partition("://")
    authority, mark, query = rest.partition("?")
    credentials, at, _ = authority.partition("/")[0].rpartition("@")
    host, port = nodes(url)[0]
    node = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{scheme.removesuffix('+cluster')}://{credentials}{at}{node}/0{mark}{query}"


def nodes(url: str) -> list[tuple[str, int]]:
    """Host and port of each node that ``url`` names; raises ``ValueError``, which says what is wrong."""
    if ";" in url:
        raise ValueError("separate the nodes by commas: redis+cluster://host:port,host:port")
    authority, _, database = url.partition("://")[2].partition("?")[0].partition("/")
    if database.strip("/") not in ("", "0"):
        raise ValueError("Redis Cluster has only database 0: leave the path out")
    return [_node(node) for node in authority.rpartition("@")[2].split(",")]


def _node(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
    if not host or not port:
        raise ValueError(
            "give redis+cluster://host:port,host:port; a port is a number from 1 to 65535 "
            "(in a password, write / # ? as %2F %23 %3F)"
        )
    return host, port


__all__ = ["DEFAULT_PORT", "SCHEMES", "first_url", "is_cluster", "nodes"]
