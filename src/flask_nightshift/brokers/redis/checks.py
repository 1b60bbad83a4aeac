"""What ``flask jobs doctor`` asks Redis or Valkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis
from redis.exceptions import ResponseError

from ..values import Finding
from .client import product, server_info
from .cluster_checks import of_cluster
from .permission_checks import of_permissions
from .permissions import Access

NEARLY_FULL = 0.8


def findings(
    client: redis.Redis,
    longest_time_limit: float | None,
    visible: float | None,
    *,
    access: Access | None,
    cluster: bool = False,
) -> list[Finding]:
    """Every check on a client; ``visible`` is the stock transport's visibility timeout (s), or None.

    ``access`` is what the user must be allowed to do, None if that is not to be checked. With ``cluster``, the client's
    server is the node of a Redis Cluster that has the app's jobs.
    """
    name, version = product(client, cluster=cluster)
    return [
        _version(name, version),
        *(of_cluster(client) if cluster else ()),
        _eviction(client),
        _persistence(client),
        _memory(client),
        *(() if cluster else _replicas(client)),
        *_visibility(visible, longest_time_limit),
        *(of_permissions(client, access) if access is not None else ()),
    ]


def _version(name: str, version: str) -> Finding:
    if not version:
        return _untold("version", "INFO", "Make sure that it is Redis 6.2 or later, or Valkey.")
    return Finding("ok", "version", f"{name} {version}")


def _untold(check: str, command: str, remedy: str) -> Finding:
    """The server does not let us look; that is no fault of the jobs."""
    return Finding("info", check, f"cannot be checked: the server does not allow {command}.", remedy)


def _config(client: redis.Redis, name: str) -> str | None:
    """A configuration value; None if the server does not let us look (managed ones often do not)."""
    try:
        values: Any = client.config_get(name)
    except ResponseError:
        return None
    return values.get(name)


def _eviction(client: redis.Redis) -> Finding:
    policy = _config(client, "maxmemory-policy")
    if policy is None:
        policy = (server_info(client, "memory") or {}).get("maxmemory_policy")
    if policy is None:
        return _untold("eviction", "CONFIG and INFO", "Make sure that maxmemory-policy is noeviction.")
    if policy.startswith("volatile-"):
        return Finding(
            "warning",
            "eviction",
            f"maxmemory-policy is {policy}: a full server keeps the jobs, and deletes results and what chords have "
            "counted, because these expire.",
            "CONFIG SET maxmemory-policy noeviction, or keep results elsewhere: NIGHTSHIFT_RESULT_BACKEND.",
        )
    if policy != "noeviction":
        return Finding(
            "error",
            "eviction",
            f"maxmemory-policy is {policy}: a full server deletes jobs silently.",
            "CONFIG SET maxmemory-policy noeviction, and in the server's configuration.",
        )
    return Finding("ok", "eviction", "maxmemory-policy is noeviction")


def _persistence(client: redis.Redis) -> Finding:
    info = server_info(client, "persistence")
    if info is None:
        return _untold("persistence", "INFO", "Make sure that appendonly is yes.")
    if info.get("aof_enabled"):
        if info.get("aof_last_write_status", "ok") != "ok":
            return Finding(
                "error",
                "persistence",
                "the append-only file cannot be written.",
                "See the server's log: disk full?",
            )
        return Finding("ok", "persistence", "append-only file is on")
    save = _config(client, "save")
    if save is None:
        return Finding(
            "warning",
            "persistence",
            "append-only file is off; cannot check for snapshots: the server refuses CONFIG.",
            "Set appendonly yes, or ask the provider.",
        )
    if save == "":
        return Finding(
            "error",
            "persistence",
            "nothing is written to disk: a restart loses every job.",
            "Set appendonly yes.",
        )
    return Finding(
        "warning",
        "persistence",
        f"snapshots only (save {save}): a crash loses minutes.",
        "Set appendonly yes.",
    )


def _memory(client: redis.Redis) -> Finding:
    info = server_info(client, "memory")
    if info is None:
        return _untold("memory", "INFO", "Watch how full it is elsewhere: publishing fails when it is.")
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit and used >= NEARLY_FULL * limit:
        return Finding(
            "error" if used >= limit else "warning",
            "memory",
            f"{used / limit:.0%} of maxmemory is used; at 100 % publishing fails.",
            "Raise maxmemory, or drain the queues.",
        )
    bound = f"of {limit / 2**20:.0f} MiB" if limit else "without a limit"
    return Finding("ok", "memory", f"{used / 2**20:.1f} MiB used {bound}")


def _replicas(client: redis.Redis) -> Iterator[Finding]:
    info = server_info(client, "replication") or {}
    if info.get("role") != "master" or not info.get("connected_slaves"):
        return
    least = _config(client, "min-replicas-to-write")
    if least == "0":
        yield Finding(
            "warning",
            "replicas",
            "min-replicas-to-write is 0: a master that a failover has replaced still accepts jobs, and loses them.",
            "CONFIG SET min-replicas-to-write 1 on every node, with two replicas or more.",
        )
    elif least is not None:
        yield Finding("ok", "replicas", f"min-replicas-to-write is {least}")


def _visibility(visible: float | None, longest: float | None) -> Iterator[Finding]:
    if visible is None:
        return
    if longest is None or longest >= visible:
        what = "a task has no time limit" if longest is None else f"a task may run for {longest:g} s"
        yield Finding(
            "error",
            "visibility_timeout",
            f"{what}, and kombu's transport gives every job out again after {visible:g} s.",
            "Set NIGHTSHIFT_REDIS_TRANSPORT to 'lease', or a larger visibility_timeout.",
        )
    else:
        yield Finding("ok", "visibility_timeout", f"{visible:g} s, longer than any task")
