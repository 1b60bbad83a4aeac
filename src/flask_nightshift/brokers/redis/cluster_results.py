"""Celery's Redis result backend on a Redis Cluster: its connections lead to the owner of the app's slot."""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend
from redis import ConnectionPool

from .transport.slot_connection import SlotConnection, SSLSlotConnection
from .transport.slot_owner import owner_of


class ClusterResults(RedisBackend):
    """``global_keyprefix`` in ``result_backend_transport_options`` has the hash tag, ``cluster_nodes`` some
    nodes of the cluster.
    """

    connection_class_ssl = SSLSlotConnection

    def _get_pool(self, **params: Any) -> ConnectionPool:
        options = self._transport_options
        tls = bool(params.pop("connection_class", None))
        return ConnectionPool(
            connection_class=SSLSlotConnection if tls else SlotConnection,
            owner=owner_of(options["cluster_nodes"], options["global_keyprefix"]),
            **params,
        )


__all__ = ["ClusterResults"]
