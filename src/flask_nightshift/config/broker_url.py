"""Checks the broker's URL, or several: the scheme and the parts after it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigurationError
from ..text.passwords import refused_url
from .cluster_url import is_cluster, nodes

BROKERS = {
    "embedded": "redis.embedded",
    "redis": "redis.broker",
    "rediss": "redis.broker",
    "redis+socket": "redis.broker",
    "sentinel": "redis.broker",
    "redis+cluster": "redis.cluster",
    "rediss+cluster": "redis.cluster",
    "amqp": "rabbitmq.broker",
    "amqps": "rabbitmq.broker",
    "pyamqp": "rabbitmq.broker",
    "memory": "memory.broker",
}
"""The module in ``brokers/`` for each scheme; its function ``make(settings, app)`` makes the broker."""
IN_PROCESS = "memory"
"""A scheme for tests; error messages do not suggest it."""
SCHEMES = tuple(scheme for scheme in BROKERS if scheme != IN_PROCESS)


def checked(key: str, value: Any) -> str:
    """``value``: one URL, or several separated by ``;``. Raises ``ConfigurationError``, which shows no password."""
    allowed = "a URL that starts with " + ", ".join(f"{s}://" for s in SCHEMES)
    if not isinstance(value, str):
        raise ConfigurationError(key, refused_url(value), allowed)
    if is_cluster(value):
        return _checked_cluster(key, value)
    for url in value.split(";"):
        scheme, separator, rest = url.partition("://")
        if "cluster" in scheme:
            allowed = "redis+cluster://host:port,host:port for Redis Cluster (rediss+cluster:// with TLS)"
        if separator and scheme == IN_PROCESS and url == value:
            continue
        if not separator or scheme not in SCHEMES or (scheme != "embedded" and not rest):
            raise ConfigurationError(key, refused_url(value), allowed)
        _check_parts(key, value, url)
    return value


def _checked_cluster(key: str, value: str) -> str:
    try:
        nodes(value)
    except ValueError as exc:
        raise ConfigurationError(key, refused_url(value), str(exc)) from None
    return value


def _check_parts(key: str, value: str, url: str) -> None:
    """Raise ``ConfigurationError`` for an invalid port or Redis database number."""
    if url.startswith(("embedded:", "redis+socket:")):
        return
    try:
        parts = urlsplit(url)
        wrong = parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        allowed = "the port must be a number from 1 to 65535 (in a password, write / # ? as %2F %23 %3F)"
        raise ConfigurationError(key, refused_url(value), allowed)
    database = parts.path.strip("/")
    if parts.scheme in ("redis", "rediss", "sentinel") and database and not database.isdecimal():
        raise ConfigurationError(
            key, refused_url(value), "the path must be the number of a database, such as /0"
        )


__all__ = ["BROKERS", "IN_PROCESS", "SCHEMES", "checked"]
