"""A Redis Cluster of three masters and three replicas, each a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot

from servers import RedisServer, Valkey, free_port, wait_for

TAG = "{nightshift}"
SLOT = key_slot(TAG.encode())
SLOTS = 16_384
MASTERS = 3
PORTION = 10
"""Keys that move at once, as with ``redis-cli --cluster reshard``."""


class ClusterNode(RedisServer):
    """A Redis in cluster mode; replicas take over a second after their master is gone."""

    program = "cluster-node"

    def __init__(self) -> None:
        super().__init__()
        self.bus_port = free_port()

    def command(self) -> list[str]:
        plain = super().command()
        at = plain.index("--databases")
        return [
            *plain[:at], *plain[at + 2 :],
            "--cluster-enabled", "yes",
            "--cluster-port", str(self.bus_port),
            "--cluster-node-timeout", "1000",
            "--cluster-replica-validity-factor", "0",
            "--masterauth", self.password,
            "--repl-diskless-sync-delay", "0",
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return f"redis+cluster://:{self.password}@127.0.0.1:{self.port}"

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(port=self.port, password=self.password, socket_timeout=5, socket_connect_timeout=2)

    def cluster(self, *words: object) -> Any:
        """The reply to ``CLUSTER`` …."""
        with self.client() as client:
            return client.execute_command("CLUSTER", *words)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What this node knows of the cluster, by ``host:port``."""
        with self.client() as client:
            return dict(client.execute_command("CLUSTER NODES"))

    @property
    def id(self) -> str:
        return str(self.cluster("MYID").decode())

    def info(self, section: str) -> dict[str, Any]:
        with self.client() as client:
            return dict(client.info(section))

    @property
    def linked(self) -> bool:
        """Whether this replica is up to date."""
        return bool(self.info("replication")["master_link_status"] == "up")

    @property
    def is_master(self) -> bool:
        return bool(self.info("replication")["role"] == "master")


class ValkeyNode(ClusterNode):
    """The same with Valkey."""

    program = "valkey-node"
    binary = Valkey.binary


class RedisCluster:
    """Three masters with a replica each: ``url``, ``fresh_url()``, ``kill()``, ``ensure()`` … as of one server."""

    node_class: type[ClusterNode] = ClusterNode
    password = ClusterNode.password
    frozen = False

    def __init__(self) -> None:
        self.nodes = [self.node_class() for _ in range(2 * MASTERS)]

    def start(self) -> RedisCluster:
        """Start the nodes, and make a cluster of them the first time."""
        new = self.nodes[0].process is None
        for node in self.nodes:
            node.start()
        if new:
            self._create()
        self.settled()
        return self

    def _create(self) -> None:
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, node in enumerate(masters):
            first, last = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS - 1
            node.cluster("ADDSLOTSRANGE", first, last)
        for number, node in enumerate(self.nodes):
            node.cluster("SET-CONFIG-EPOCH", number + 1)
            self.nodes[0].cluster("MEET", "127.0.0.1", node.port, node.bus_port)
        wait_for(
            lambda: all(len(node.nodes()) == len(self.nodes) for node in self.nodes), 20, "nodes have not met"
        )
        for master, replica in zip(masters, replicas, strict=True):
            replica.cluster("REPLICATE", master.id)

    def settled(self) -> None:
        """Wait until the cluster serves every slot and each master has a replica that is up to date."""
        wait_for(self._is_settled, 40, "the cluster is not settled")

    def _is_settled(self) -> bool:
        views = [node.cluster("SLOTS") for node in self.nodes]
        masters = [node for node in self.nodes if node.is_master]
        return (
            all(b"cluster_state:ok" in _raw(node.cluster("INFO")) for node in self.nodes)
            and len({repr([[slot[0], slot[1], slot[2][1]] for slot in sorted(view)]) for view in views}) == 1
            and len(masters) == MASTERS
            and all(node.info("replication")["connected_slaves"] == 1 for node in masters)
            and all(node.linked for node in self.nodes if node not in masters)
        )

    # what one server has
    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:MASTERS])
        return f"redis+cluster://:{self.password}@{hosts}"

    def fresh_url(self) -> str:
        """Empty the cluster; returns its URL."""
        self.ensure()
        for node in self.nodes:
            if node.is_master:
                with node.client() as client:
                    client.flushall()
        return self.url

    def client(self, url: str | None = None) -> Any:
        """A client of the node that has the jobs."""
        return self.owner.client()

    def stop(self) -> None:
        self._each("stop")

    def kill(self) -> None:
        self._each("kill")

    def freeze(self) -> None:
        self._each("freeze")
        self.frozen = True

    def thaw(self) -> None:
        self._each("thaw")
        self.frozen = False

    def ensure(self) -> None:
        """Make every node answer again, whatever a test did to it."""
        self._each("ensure")
        self.frozen = False
        self.stable()
        self.settled()

    def close(self) -> None:
        self._each("close")

    def _each(self, name: str) -> None:
        for node in self.nodes:
            getattr(node, name)()

    # what only a cluster has
    @property
    def owner(self) -> ClusterNode:
        """The master that has the slot of the jobs, as a majority of the nodes that answer sees it."""
        votes: dict[int, int] = {}
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError, OSError):
                for first, last, master, *_ in node.cluster("SLOTS") if not node.frozen else ():
                    if first <= SLOT <= last:
                        votes[master[1]] = votes.get(master[1], 0) + 1
        port = max(votes, key=lambda port: votes[port])
        return next(node for node in self.nodes if node.port == port)

    def replica_of(self, master: ClusterNode) -> ClusterNode:
        """The node that would take over."""
        return next(
            node for node in self.nodes if node.nodes()[f"127.0.0.1:{node.port}"]["master_id"] == master.id
        )

    def fail_over(self) -> None:
        """Swap the owner and its replica in good order, as before maintenance."""
        owner = self.owner
        replica = self.replica_of(owner)
        replica.cluster("FAILOVER")
        wait_for(lambda: self.owner is replica, 20, "no failover")

    def kill_owner(self, *, replicated: bool = False) -> ClusterNode:
        """Kill the owner and wait until its replica has taken over; the killed node.

        ``replicated``: what the owner has confirmed is on the replica. Else the replica may lack the last writes.
        """
        owner = self.owner
        if replicated:
            with owner.client() as client:
                client.client_pause(20_000, all=False)  # writes get no reply from now on
            wait_for(lambda: _replicated(owner.info("replication")), 15, "the replica is behind")
        owner.kill()
        wait_for(lambda: self.owner is not owner, 30, "no replica took over")
        return owner

    def begin_move(self) -> tuple[ClusterNode, ClusterNode]:
        """Begin to move the slot to another master, without its keys; ``(source, target)``."""
        source = self.owner
        target = next(node for node in self.nodes if node.is_master and node is not source)
        target.cluster("SETSLOT", SLOT, "IMPORTING", source.id)
        source.cluster("SETSLOT", SLOT, "MIGRATING", target.id)
        return source, target

    def move_keys(self, source: ClusterNode, target: ClusterNode, most: int | None = None) -> int:
        """Move up to ``most`` keys of the slot; how many."""
        moved = 0
        with source.client() as client:
            while most is None or moved < most:
                portion = PORTION if most is None else min(PORTION, most - moved)
                keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", SLOT, portion)
                if not keys:
                    break
                words = [
                    "MIGRATE",
                    "127.0.0.1",
                    target.port,
                    "",
                    0,
                    5000,
                    "AUTH",
                    self.password,
                    "KEYS",
                    *keys,
                ]
                client.execute_command(*words)
                moved += len(keys)
        return moved

    def end_move(self, source: ClusterNode, target: ClusterNode) -> None:
        """The slot is the target's: what is left moves first."""
        self.move_keys(source, target)
        for node in (
            target,
            source,
            *(node for node in self.nodes if node not in (source, target) and node.is_master),
        ):
            node.cluster("SETSLOT", SLOT, "NODE", target.id)
        wait_for(lambda: self.owner is target, 20, "the slot did not move")

    def move(self) -> None:
        """Move the slot with its keys to another master."""
        self.end_move(*self.begin_move())

    def stable(self) -> None:
        """End a move that a test left half-way."""
        for node in self.nodes:
            if node.is_master:
                node.cluster("SETSLOT", SLOT, "STABLE")


class TlsNode(ClusterNode):
    """A node with TLS only, for clients and other nodes alike; its certificate names ``localhost``, and no address."""

    program = "tls-cluster-node"
    files: Path

    def command(self) -> list[str]:
        plain = super().command()
        at = plain.index("--port")
        return [
            *plain[:at], "--port", "0", "--tls-port", str(self.port), *plain[at + 2 :],
            "--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no",
            "--tls-cert-file", str(self.files / "node.crt"), "--tls-key-file", str(self.files / "node.key"),
            "--tls-ca-cert-file", str(self.files / "node.crt"),
            "--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname",
        ]  # fmt: skip

    def client(self, url: str | None = None) -> Any:
        return redis.Redis(
            "localhost", self.port, password=self.password, socket_timeout=5, socket_connect_timeout=2,
            ssl=True, ssl_ca_certs=str(self.files / "node.crt"),
        )  # fmt: skip


class TlsCluster(RedisCluster):
    """The same over TLS, with a certificate of its own: ``certificate`` is its path."""

    def __init__(self) -> None:
        self._files = tempfile.TemporaryDirectory(prefix="nightshift-tls-cluster-")
        files = Path(self._files.name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", files / "node.key", "-out", files / "node.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        self.certificate = str(files / "node.crt")
        self.node_class = type("OurTlsNode", (TlsNode,), {"files": files})
        super().__init__()

    @property
    def url(self) -> str:
        hosts = ",".join(f"localhost:{node.port}" for node in self.nodes[:MASTERS])
        return f"rediss+cluster://:{self.password}@{hosts}?ssl_ca_certs={self.certificate}"

    def close(self) -> None:
        super().close()
        self._files.cleanup()


class ValkeyCluster(RedisCluster):
    """The same with Valkey."""

    node_class = ValkeyNode


def _replicated(told: dict[str, Any]) -> bool:
    return bool(told["slave0"]["offset"] == told["master_repl_offset"])


def _raw(reply: Any) -> bytes:
    if isinstance(reply, dict):
        return "\n".join(f"{key}:{value}" for key, value in reply.items()).encode()
    return reply if isinstance(reply, bytes) else str(reply).encode()


__all__ = ["SLOT", "TAG", "ClusterNode", "RedisCluster", "TlsCluster", "ValkeyCluster"]
