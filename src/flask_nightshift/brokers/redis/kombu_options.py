"""The transport options of kombu's connections to Redis: the user's, else ours; wrong combinations are refused."""

from __future__ import annotations

from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from ...config.cluster_url import is_cluster, nodes
from ...config.settings import Settings
from ...errors import ConfigurationError
from ...message.burial import DEAD_QUEUE
from ...text.passwords import hide_password
from ..failures import STEP

SENTINEL_STEP = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": Retry(NoBackoff(), 0)}
"""How long one Sentinel is asked for the master before the next is; redis-py would ask each four times."""
HEALTH = 5
"""Seconds between two looks whether a server still answers. A worker that waits for jobs leaves a server that says
nothing any more, and is on the other end of no error, after twice that.
"""
STOCK_HEALTH = 25
"""The same with kombu's transport, where a job may be lost with the connection that is dropped."""
STOCK_VISIBILITY_TIMEOUT = 12 * 3600
"""With kombu's transport a job that runs longer than this many seconds runs twice."""


DEFAULT_TAG = "{nightshift}"
"""The hash tag of an app on a Redis Cluster that sets no ``global_keyprefix``."""


def transport_options(settings: Settings) -> dict[str, Any]:
    """The transport options for ``settings``, the user's before ours; raises ``ConfigurationError``."""
    url = settings.broker_url
    options: dict[str, Any] = {
        "socket_connect_timeout": STEP,
        "socket_keepalive": True,
        "health_check_interval": HEALTH if settings.redis_transport == "lease" else STOCK_HEALTH,
        "retry_on_timeout": False,
    }
    if settings.redis_transport == "lease":
        options |= {"delivery_limit": settings.delivery_limit, "dead_letter_queue": DEAD_QUEUE}
    else:
        options |= {"visibility_timeout": STOCK_VISIBILITY_TIMEOUT}
    sentinel, cluster = url.startswith("sentinel:"), is_cluster(url)
    options |= settings.celery.get("broker_transport_options") or {}
    if sentinel:
        options["sentinel_kwargs"] = {**SENTINEL_STEP, **(options.get("sentinel_kwargs") or {})}
    if cluster:
        options["global_keyprefix"] = tagged(options.get("global_keyprefix") or "")
        options["cluster_nodes"] = nodes(url)
    if sentinel and not options.get("master_name"):
        raise ConfigurationError(
            "NIGHTSHIFT_CELERY",
            settings.celery,
            "sentinel:// needs {'broker_transport_options': {'master_name': …}}",
        )
    if url.startswith(("embedded:", "redis+socket:")) and settings.celery.get("broker_use_ssl"):
        raise ConfigurationError(
            "NIGHTSHIFT_CELERY['broker_use_ssl']",
            settings.celery["broker_use_ssl"],
            "a unix socket has no TLS: drop it, or give the URL of a server in NIGHTSHIFT_BROKER_URL",
        )
    if ";" in url and not sentinel:
        raise ConfigurationError(
            "NIGHTSHIFT_BROKER_URL",
            hide_password(url),
            "one server; several URLs are for sentinel:// and amqp://",
        )
    return options


def tagged(prefix: str) -> str:
    """``prefix`` with a hash tag, which makes Redis Cluster put all keys that begin with it into one slot.

    Raises ``ConfigurationError`` if it has braces that are no tag.
    """
    if not prefix:
        return DEFAULT_TAG
    if prefix[0] == "{" and prefix.find("}") > 1:
        return prefix
    if "{" in prefix or "}" in prefix:
        raise ConfigurationError(
            "NIGHTSHIFT_CELERY['broker_transport_options']['global_keyprefix']",
            prefix,
            "a prefix without braces, or one that begins with a hash tag, such as '{shop}'",
        )
    return f"{{{prefix}}}"


__all__ = ["DEFAULT_TAG", "tagged", "transport_options"]
