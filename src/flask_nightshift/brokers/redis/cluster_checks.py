"""What ``flask jobs doctor`` asks the node of a Redis Cluster that has the app's jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis.exceptions import ResponseError

from ..values import Finding
from .client import server_info


def of_cluster(client: Any) -> Iterator[Finding]:
    """The state of the cluster, and whether a replica can take over the jobs."""
    try:
        info: Any = client.execute_command("CLUSTER INFO")
    except ResponseError:
        yield Finding("info", "cluster", "cannot be checked: the server does not allow CLUSTER INFO.")
        return
    if info.get("cluster_state") != "ok":
        yield Finding(
            "error",
            "cluster",
            f"its state is {info.get('cluster_state')}: a slot has no master.",
            "See CLUSTER NODES.",
        )
    else:
        yield Finding(
            "ok", "cluster", f"{info.get('cluster_size')} masters, {info.get('cluster_known_nodes')} nodes"
        )
    replication = server_info(client, "replication") or {}
    if replication.get("role") == "master" and not replication.get("connected_slaves"):
        yield Finding(
            "warning",
            "failover",
            "the master that has the jobs has no replica: while it is away, nothing takes over.",
            "Add a replica of it (redis-cli --cluster add-node … --cluster-slave).",
        )


__all__ = ["of_cluster"]
