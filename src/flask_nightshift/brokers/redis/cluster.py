"""``redis+cluster://``: one slot of a Redis Cluster, which the transport uses like one server.

All keys of an app have the same hash tag: kombu's ``global_keyprefix`` in braces, ``{nightshift}`` by default. So a
script may touch them all, and one master with its replicas serves the whole app.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import redis
from flask import Flask
from redis.exceptions import MovedError

from ...config.cluster_url import first_url
from ...config.settings import Settings
from ...errors import BrokerUnavailable, ConfigurationError
from ..causes import NOT_A_CLUSTER
from ..values import BrokerHealth
from .broker import RedisBroker
from .client import connect_to_owner
from .kombu_options import tagged
from .queues import Queues
from .transport.slot_connection import SlotAway
from .transport.slot_owner import NotACluster

T = TypeVar("T")
CLUSTER_TRANSPORT = "flask_nightshift.transport:ClusterTransport"
RESULTS = "flask_nightshift.brokers.redis.cluster_results:ClusterResults"


class ClusterBroker(RedisBroker):
    """The owner of one slot of a Redis Cluster."""

    _in_cluster = True

    def __init__(self, settings: Settings) -> None:
        if settings.redis_transport != "lease":
            raise ConfigurationError(
                "NIGHTSHIFT_REDIS_TRANSPORT",
                settings.redis_transport,
                "'lease': kombu's own transport knows no Redis Cluster",
            )
        super().__init__(settings)

    @property
    def _broker_url(self) -> str:
        """The first node, which kombu can parse; the connections ask it or others for the owner."""
        return first_url(self._settings.broker_url)

    @property
    def _transport(self) -> str:
        return CLUSTER_TRANSPORT

    def celery_settings(self) -> dict[str, Any]:
        """Those of one server; results have the same hash tag."""
        settings = super().celery_settings()
        if self._settings.result_backend in (None, self._settings.broker_url):
            settings["result_backend"] = f"{RESULTS}+{self._broker_url}"
            given = self._settings.celery.get("result_backend_transport_options") or {}
            settings["result_backend_transport_options"] = {
                **given,
                "global_keyprefix": tagged(given.get("global_keyprefix") or self._keys.prefix),
                "cluster_nodes": self._options["cluster_nodes"],
            }
        return settings

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """PING on a new connection to the owner; raises ``ConfigurationError`` for a server that is no cluster."""
        try:
            return super().health(timeout)
        except BrokerUnavailable as exc:
            if isinstance(exc.__cause__, NotACluster):
                raise ConfigurationError("NIGHTSHIFT_BROKER_URL", "***", NOT_A_CLUSTER) from exc
            raise

    def _ask(self, question: Callable[[Queues], T]) -> T:
        """Ask again if the slot had gone to another node: a connection does not repeat a pipeline by itself."""
        try:
            return super()._ask(question)
        except BrokerUnavailable as exc:
            refused = exc.__cause__
            if not isinstance(refused, SlotAway) or not isinstance(refused.__cause__, MovedError):
                raise
        return super()._ask(question)

    def _connected(self, step: float) -> redis.Redis:
        return connect_to_owner(
            self._broker_url, self._options["cluster_nodes"], self._keys.prefix, self._tls, step
        )


def make(settings: Settings, app: Flask) -> ClusterBroker:  # noqa: ARG001 - every broker's signature
    """The broker for ``connect``."""
    return ClusterBroker(settings)


__all__ = ["ClusterBroker", "make"]
