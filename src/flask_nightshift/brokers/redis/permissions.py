"""What the user of the broker's URL must be allowed to do: commands, and names of keys and channels.

``permission_checks.py`` tries it out, and ``docs/how-to/managed-redis.md`` publishes it; a test compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from ...config.cluster_url import is_cluster
from ...config.settings import Settings
from .kombu_options import tagged, transport_options

PAGE = "docs/how-to/managed-redis.md"
_COMMANDS = """
ping
hello
select 0
time
eval return 1 {key}
evalsha 0 1 {key}
script|load return
script|exists 0
multi
exec
watch {key}
unwatch
get {key}
set {key} 0
setex {key} 1 0
incr {key}
mget {key}
del {key}
exists {key}
expire {key} 1
pexpire {key} 1
pttl {key}
scan 0
lpush {key} 0
rpush {key} 0
rpop {key}
blpop {key} 1
brpop {key} 1
llen {key}
lindex {key} 0
lrange {key} 0 0
lrem {key} 0 0
ltrim {key} 0 0
hget {key} 0
hset {key} 0 0
hsetnx {key} 0 0
hdel {key} 0
hexists {key} 0
hgetall {key}
hincrby {key} 0 0
hkeys {key}
hscan {key} 0
sadd {key} 0
srem {key} 0
smembers {key}
sismember {key} 0
zadd {key} 0 0
zrem {key} 0
zcard {key}
zcount {key} 0 0
zscore {key} 0
zrange {key} 0 0
zrangebyscore {key} 0 0
zscan {key} 0
zremrangebyrank {key} 0 0
zremrangebyscore {key} 0 0
publish {channel} 0
subscribe {channel}
unsubscribe
psubscribe {channel}
punsubscribe
"""
_OF_A_CLUSTER = """
asking
cluster|slots
cluster|info
"""
_SLOW_TAKEOVER = "jobs of a killed worker run again after 15 s instead of about 3 s"
OPTIONAL = {
    "client|id": _SLOW_TAKEOVER,
    "info": "the doctor cannot look at eviction, persistence and memory, and health shows no version",
    "client|list": _SLOW_TAKEOVER,
}
"""Commands without which Nightshift works, and what is missing then."""


_OPTIONAL_EXAMPLES = """
info server
client|id
client|list
"""
_GLOB = re.compile(r"([*?\\[\]\\\\])")


@dataclass(frozen=True, slots=True)
class Access:
    """What a user needs, and an example of each command with which to try it out.

    ``commands`` and ``optional``: by the name that an ACL gives the command. ``keys`` and ``channels``: by pattern.
    """

    commands: Mapping[str, list[str]]
    optional: Mapping[str, list[str]]
    keys: Mapping[str, list[str]]
    channels: Mapping[str, list[str]]

    def rules(self) -> set[str]:
        """All as rules of ``ACL SETUSER``."""
        signs = {"+": [*self.commands, *self.optional], "~": [*self.keys], "&": [*self.channels]}
        return {f"{sign}{name}" for sign, names in signs.items() for name in names}


def needed_by(settings: Settings, client: redis.Redis, queues: Iterable[str]) -> Access | None:
    """What an app with ``queues`` needs on the server of ``client``; None with kombu's transport, which needs more."""
    if settings.redis_transport != "lease":
        return None
    options = transport_options(settings)
    of_results = settings.celery.get("result_backend_transport_options") or {}
    results: str | None = str(of_results.get("global_keyprefix") or "")
    if settings.result_backend not in (None, settings.broker_url):
        results = None
    elif is_cluster(settings.broker_url):
        results = tagged(results or options["global_keyprefix"])
    database = int(client.connection_pool.connection_kwargs.get("db") or 0)
    return needed(options, queues, database=database, results=results)


def needed(
    options: Mapping[str, Any], queues: Iterable[str], *, database: int, results: str | None
) -> Access:
    """What an app with ``queues`` needs; ``options`` are its transport's.

    ``results`` is the ``global_keyprefix`` of results, '' if there is none; None if they are stored elsewhere.
    """
    prefix = str(options.get("global_keyprefix") or "")
    channels = _channels(options, prefix, database)
    keys = {pattern: ["RPOP", name] for pattern, name in _keys(prefix, queues)}
    if results is not None:
        if results and results[-1] not in ":_-.":
            results += "_"  # as Celery does
        channels[f"{_literal(results)}celery-task-meta-*"] = ["SUBSCRIBE", f"{results}celery-task-meta-0"]
        if not (results.startswith(prefix) if prefix else results == ""):
            keys[f"{_literal(results)}celery-task*"] = ["RPOP", f"{results}celery-task-meta-0"]
    names = {"key": f"{prefix}nightshift:probe", "channel": next(iter(channels))}
    table = _COMMANDS + (_OF_A_CLUSTER if "cluster_nodes" in options else "")
    return Access(_examples(table, names), _examples(_OPTIONAL_EXAMPLES, names), keys, channels)


def _keys(prefix: str, queues: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Patterns of keys, and the name of a key for each."""
    if prefix:
        yield f"{_literal(prefix)}*", f"{prefix}nightshift:probe"
        return
    yield "nightshift*", "nightshift:probe"
    yield "celery*", "celery-task-meta-0"
    yield "_kombu.*", "_kombu.binding.celery.pidbox"
    yield "unacked*", "unacked_index"
    yield "*.celery.pidbox*", "0.reply.celery.pidbox"
    for queue in sorted(queues):
        if not queue.startswith(("nightshift", "celery")):
            yield f"{_literal(queue)}*", queue


def _channels(options: Mapping[str, Any], prefix: str, database: int) -> dict[str, list[str]]:
    """Those of remote control and of events: kombu subscribes to patterns, which an ACL has to name as they are."""
    given = options.get("fanout_prefix", True)
    fanout = prefix + ("/{db}." if given is True else str(given or "")).format(db=database)
    return {name: ["PSUBSCRIBE", name] for name in (f"{fanout}celery.pidbox", f"{fanout}celeryev/*")}


def _examples(table: str, names: Mapping[str, str]) -> dict[str, list[str]]:
    found = {}
    for line in table.split("\n"):
        name, *args = line.split() or [""]
        if name:
            found[name] = [*name.upper().split("|"), *(arg.format(**names) for arg in args)]
    return found


def _literal(name: str) -> str:
    """``name`` as a part of a pattern."""
    return _GLOB.sub(r"\\\1", name)


__all__ = ["OPTIONAL", "PAGE", "Access", "needed", "needed_by"]
