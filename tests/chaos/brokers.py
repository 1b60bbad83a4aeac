"""The brokers under test, as durable as in production, with the operations that only chaos needs."""

from __future__ import annotations

from typing import Any

from redis_cluster import ClusterNode, RedisCluster
from servers import RabbitMQ, RedisServer, Valkey


class DurableRedis(RedisServer):
    """Redis, with every write on disk before it is confirmed (`appendfsync always`)"""

    def command(self) -> list[str]:
        return [*super().command(), "--appendfsync", "always"]


class DurableValkey(Valkey):
    """Valkey, with every write on disk before it is confirmed (`appendfsync always`)"""

    def command(self) -> list[str]:
        return [*super().command(), "--appendfsync", "always"]


class DurableNode(ClusterNode):
    """Every write is on disk before it is confirmed."""

    def command(self) -> list[str]:
        return [*super().command(), "--appendfsync", "always"]


class DurableCluster(RedisCluster):
    """a Redis Cluster of three masters and three replicas (`appendfsync always`)"""

    node_class = DurableNode


class PatientRabbitMQ(RabbitMQ):
    """RabbitMQ with quorum queues, which write to disk before they confirm"""

    start_seconds = 150  # a restart is slow while workers use the cores


BROKERS: dict[str, type[Any]] = {
    "valkey": DurableValkey,
    "redis": DurableRedis,
    "cluster": DurableCluster,
    "rabbitmq": PatientRabbitMQ,
}
"""By their names in ``BROKERS=`` and in the table. docs/how-to/chaos.md describes each with its docstring."""


def cut_connections(server: Any) -> None:
    """Close every client's connection from the broker's side."""
    if isinstance(server, RabbitMQ):
        server.close_connections()
        return
    with server.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub", skipme=True)
