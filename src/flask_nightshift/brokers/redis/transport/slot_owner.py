"""The node of a Redis Cluster that serves the one slot of an app.

All keys of an app share a hash tag (``KeySpace``), so they are in one slot, and one node has them all. This module asks
any node of the cluster which one that is. It asks again when there is doubt: a refused command, a broken connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any

from redis import Connection, SSLConnection
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from ...failures import is_over, left

Address = tuple[str, int]
ASKED_FOR = 0.5
"""Seconds that one node may take to answer; the next node is asked then."""
ASKED_IN_ALL = 1.0
"""Seconds after which no further node is asked."""
SHORTEST = 0.001
"""Seconds that a step has when nothing is left."""
_SHARED = ("username", "password", "credential_provider")


class NotACluster(RedisConnectionError):
    """The server of a cluster's URL is not part of one."""


class NoOwner(RedisConnectionError):
    """No node of the cluster answers, or none serves the slot."""


class _Brief(Connection):
    """A connection whose replies together, those of the handshake too, may take ``seconds``."""

    def __init__(self, *, seconds: float, **options: Any) -> None:
        self._until = monotonic() + seconds
        limit = max(seconds, SHORTEST)
        super().__init__(socket_timeout=limit, socket_connect_timeout=limit, **options)  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The reply; raises redis-py's ``TimeoutError`` when the time is over."""
        if self._sock is not None:
            self._sock.settimeout(max(self._until - monotonic(), SHORTEST))
        return super().read_response(*args, **options)


class _SSLBrief(_Brief, SSLConnection):
    """The same over TLS."""


class SlotOwner:
    """Where the slot of ``tag`` is; shared by the connections of this process to one cluster.

    Safe in threads and after a fork: its state is values, each replaced at once.
    """

    def __init__(self, nodes: Sequence[Address], tag: str) -> None:
        self.tag = tag
        self.slot = int(key_slot(tag.encode()))
        self.version = 0
        """Differs when the owner does: a connection that was made under another version leads to the wrong node."""
        self._seeds = list(nodes)
        self._known: list[Address] = []
        self._address: Address | None = None
        self._last: Address | None = None
        self._doubted: Address | None = None

    def address(self, options: Mapping[str, Any], connection_class: type[Connection]) -> Address:
        """Host and port of the owner; ``options`` are those of a connection. Raises what redis-py does."""
        return self._address or self._found(self._ask(options, connection_class))

    def doubt(self, address: Address) -> None:
        """A connection to ``address`` failed, or it refused a command: the next connection asks the others first."""
        self._doubted = address
        if self._address == address:
            self._address = None

    def moved(self, exc: MovedError, answered: Address) -> None:
        """The node ``answered`` that another one has the slot; without a host it is that node's own."""
        if exc.slot_id == self.slot:
            self._found((exc.host or answered[0], exc.port))

    def _found(self, address: Address) -> Address:
        if address != self._last:
            self._last = address
            self.version += 1
        self._address = address
        return address

    def _ask(self, options: Mapping[str, Any], connection_class: type[Connection]) -> Address:
        problem: BaseException | None = None
        until = monotonic() + ASKED_IN_ALL
        for node in self._nodes():
            if problem is not None and (is_over() or monotonic() > until):
                break
            try:
                shards = _slots(node, options, connection_class)
            except (AuthenticationError, NoPermissionError, NotACluster):
                raise
            except (RedisError, OSError) as exc:
                problem = exc
                continue
            self._known = [address for _, _, nodes in shards for address in nodes] or self._known
            for first, last, (owner, *_) in shards:
                if first <= self.slot <= last:
                    return owner
            problem = NoOwner(f"CLUSTERDOWN: no node serves slot {self.slot} of {self.tag}")
        raise NoOwner(
            f"no node of the cluster leads to slot {self.slot} of {self.tag}: {problem}"
        ) from problem

    def _nodes(self) -> list[Address]:
        """The nodes to ask; the doubted one last, because a node that is cut off still names itself as the owner."""
        nodes = list(dict.fromkeys([*self._known, *self._seeds]))
        return sorted(nodes, key=lambda node: node == self._doubted)


def _slots(
    node: Address, options: Mapping[str, Any], connection_class: type[Connection]
) -> list[tuple[int, int, list[Address]]]:
    """Ranges of slots as ``(first, last, [master, replica, ...])``, as ``node`` sees them."""
    with connected(node, options, connection_class, min(ASKED_FOR, left(ASKED_FOR))) as connection:
        connection.send_command("CLUSTER", "SLOTS")
        try:
            reply: Any = connection.read_response()
        except ResponseError as exc:
            if "cluster support disabled" in str(exc):
                raise NotACluster(f"{node[0]}:{node[1]}: {exc}") from exc
            raise
    return [
        (int(first), int(last), [_address(each, node[0]) for each in nodes]) for first, last, *nodes in reply
    ]


def _address(node: list[Any], asked: str) -> Address:
    host = node[0].decode() if isinstance(node[0], bytes) else node[0]
    return host or asked, int(node[1])


@contextlib.contextmanager
def connected(
    address: Address, options: Mapping[str, Any], connection_class: type[Connection], seconds: float
) -> Iterator[Any]:
    """A connection to ``address`` with the credentials and the TLS of ``options``, for a few commands.

    All replies together, those of the handshake too, may take ``seconds``.
    """
    shared = {key: value for key, value in options.items() if key in _SHARED or key.startswith("ssl_")}
    kind = _SSLBrief if issubclass(connection_class, SSLConnection) else _Brief
    connection: Any = kind(
        seconds=seconds,
        host=address[0],
        port=address[1],
        retry=Retry(NoBackoff(), 0),
        **shared,
    )
    try:
        connection.connect()
        yield connection
    finally:
        connection.disconnect()


_OWNERS: dict[tuple[tuple[Address, ...], str], SlotOwner] = {}


def owner_of(nodes: Iterable[Address], tag: str) -> SlotOwner:
    """The owner of the slot of ``tag`` in the cluster of ``nodes``; the same object for the whole process."""
    seeds = tuple((str(host), int(port)) for host, port in nodes)
    return _OWNERS.setdefault((seeds, tag), SlotOwner(seeds, tag))


__all__ = ["Address", "NoOwner", "NotACluster", "SlotOwner", "connected", "owner_of"]
