"""Reads the contents of a broker with its own client: messages, keys of Redis, entities of RabbitMQ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import amqp
import redis

from servers import RabbitMQ, RedisServer

from .payloads import body_of, redis_element

Messages = dict[str, list[dict[str, Any]]]
_CHANCE = ("nightshift:late", "nightshift:wake:")
"""What the names of keys begin with that are written only if two processes happen to meet."""
_KINDS = {
    "hash": ("hset", "hincrby"),
    "list": ("lpush", "rpush"),
    "set": ("sadd",),
    "string": ("set", "incrby"),
    "zset": ("zadd",),
}
"""The commands that make a key of each type."""


class Redis:
    """A database of Redis or Valkey that a story has for itself."""

    def __init__(self, server: RedisServer, url: str) -> None:
        client: Any = redis.Redis.from_url(url)  # typed by redis-py in part
        self._client = client
        self._client.config_set("notify-keyspace-events", "KA")
        self._written = client.pubsub()
        self._written.psubscribe("__keyspace@0__:*")

    def close(self) -> None:
        self._written.close()
        self._client.config_set("notify-keyspace-events", "")
        self._client.close()

    def take(self) -> Messages:
        """The messages in all queues, which are empty afterwards: oldest first, by where they stood."""
        found: Messages = {}
        for key in sorted(self._client.scan_iter("*", count=1000)):
            elements = list(self._elements(key))
            if elements:
                self._client.delete(key)
                found[repr(key.decode())[1:-1]] = elements
        return found

    def _elements(self, key: bytes) -> Iterator[dict[str, Any]]:
        kind = self._client.type(key)
        if kind == b"zset" and key.startswith(b"nightshift:delayed:"):
            for member, score in self._client.zrange(key, 0, -1, withscores=True):
                step, _, raw = member.partition(b"|")
                yield {"step": step.decode(), "score": _moment(score), **redis_element(raw)}
        elif kind == b"list" and not key.startswith(b"nightshift:"):
            yield from map(redis_element, reversed(self._client.lrange(key, 0, -1)))

    def entities(self) -> list[str]:
        """The type and name of each key, but for those of ours that go by themselves."""
        keys = self._client.scan_iter("*", count=1000)
        return sorted(
            f"{self._client.type(key).decode():<6} {key.decode()!r}"
            for key in keys
            if not (key.startswith(b"nightshift:") and self._client.pttl(key) >= 0)
        )

    def written(self) -> list[str]:
        """The type and name of each key that there was since the beginning."""
        found = set()
        while (told := self._written.get_message(timeout=0.2)) is not None:
            key, command = told["channel"].partition(b":")[2].decode(), told["data"]
            for kind, commands in _KINDS.items():
                if command in [name.encode() for name in commands] and not key.startswith(_CHANCE):
                    found.add(f"{kind:<6} {key!r}")
        return sorted(found)


def _moment(score: float) -> str:
    return datetime.fromtimestamp(score, UTC).isoformat()


class Rabbit:
    """A vhost of RabbitMQ that a story has for itself."""

    def __init__(self, server: RabbitMQ, url: str) -> None:
        self._server, self._vhost = server, urlsplit(url).path[1:]
        self._connection = amqp.Connection(
            f"127.0.0.1:{server.port}", server.user, server.password, virtual_host=self._vhost
        )
        self._connection.connect()

    def close(self) -> None:
        self._connection.close()

    def take(self) -> Messages:
        """The messages in all queues, which are empty afterwards: oldest first, by where they stood."""
        found: Messages = {}
        with self._connection.channel() as channel:
            for queue in sorted(queue["name"] for queue in self._listed()["queues"]):
                if queue.endswith(".pidbox"):
                    continue
                while (message := channel.basic_get(queue, no_ack=True)) is not None:
                    found.setdefault(queue, []).append(_told(message))
        return found

    def entities(self) -> list[str]:
        """Each exchange, queue and binding with what it was declared with, but for those that every vhost has."""
        listed = self._listed()
        lines = [
            _line(kind[:-1], row) for kind, rows in listed.items() for row in rows if not _is_everywhere(row)
        ]
        return sorted(lines)

    def written(self) -> list[str]:
        return []

    def _listed(self) -> dict[str, list[dict[str, Any]]]:
        path = self._server.home / "listed.json"
        self._server.erl(_LISTED % {"vhost": self._vhost, "path": path})
        return json.loads(path.read_text())


_LISTED = """
Name = fun({resource, _, _, N}) -> N; (N) -> N end,
Plain = fun(arguments, Table) -> rabbit_misc:amqp_table(Table); (_, Value) -> Name(Value) end,
All = fun(Rows) -> [maps:from_list([{Key, Plain(Key, Value)} || {Key, Value} <- Row]) || Row <- Rows] end,
V = <<"%(vhost)s">>,
ok = file:write_file("%(path)s", rabbit_json:encode(#{
  queues => All(rabbit_amqqueue:info_all(V, [name, durable, auto_delete, arguments])),
  exchanges => All(rabbit_exchange:info_all(V, [name, type, durable, auto_delete, internal, arguments])),
  bindings => All(rabbit_binding:info_all(V, [source_name, destination_name, routing_key, arguments]))}))
"""


def _is_everywhere(row: dict[str, Any]) -> bool:
    """Whether each vhost has it: the exchanges ``amq.*`` and the default one, with a binding to each queue."""
    name = str(row.get("name", row.get("source_name")))
    return not name or name.startswith("amq.")


def _line(kind: str, row: dict[str, Any]) -> str:
    told = ", ".join(
        f"{key}={json.dumps(value, sort_keys=True)}" for key, value in sorted(row.items()) if value != {}
    )
    return f"{kind} {told}"


def _told(message: Any) -> dict[str, Any]:
    properties = {key: value for key, value in message.properties.items() if key != "application_headers"}
    headers = message.properties["application_headers"]
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    return {
        "exchange": message.delivery_info["exchange"],
        "routing_key": message.delivery_info["routing_key"],
        "properties": properties,
        "headers": {
            key: value for key, value in headers.items() if key != "x-delivery-count"
        },  # the broker's own
        "body": body_of(body),
    }
