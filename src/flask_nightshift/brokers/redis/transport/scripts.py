"""The Lua scripts: what every atomic step of the transport is made of.

A script is called by its hash and sent whole only when the server does not know it, so ``SCRIPT FLUSH``, a
restart and a failover are survived without anyone noticing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from .raw_connection import RawConnection

Arg = str | bytes | int | float
GUARDED = "table.remove(KEYS)\n"
"""What stands before a script whose keys have a hash tag: it takes the guard out again.

While a slot is moved, its node refuses a script only if a declared key is missing, so a script could fail half-way, at
a key that it has just emptied. The guard is a declared key that is always missing: the node refuses every script.
"""


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its name, and the hash that Redis knows it by."""

    name: str
    sha: str
    guarded_sha: str = ""

    @property
    def source(self) -> str:
        """Its Lua, with the functions that all scripts share; it is rarely sent, so it is not kept."""
        return _file("shared") + _file(self.name)

    def by_hash(self, keys: Sequence[str], args: Sequence[Any]) -> tuple[Arg, ...]:
        """The command that calls it, cheap."""
        if keys[0][:1] == "{":
            return ("EVALSHA", self.guarded_sha, len(keys) + 1, *keys, _guard(keys[0]), *args)
        return ("EVALSHA", self.sha, len(keys), *keys, *args)

    def by_source(self, keys: Sequence[str], args: Sequence[Any]) -> tuple[Arg, ...]:
        """The command that calls it and makes the server know it."""
        if keys[0][:1] == "{":
            return ("EVAL", GUARDED + self.source, len(keys) + 1, *keys, _guard(keys[0]), *args)
        return ("EVAL", self.source, len(keys), *keys, *args)

    def run(self, client: Redis | RawConnection, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Call it on ``client``, which must not prefix keys itself; the script's reply."""
        call: Any = client.execute_command
        try:
            return call(*self.by_hash(keys, args))
        except NoScriptError:
            return call(*self.by_source(keys, args))


@cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")


def _script(name: str) -> Script:
    source = Script(name, "").source
    return Script(name, sha_of(source), sha_of(GUARDED + source))


def sha_of(source: str) -> str:
    """The hash that Redis knows ``source`` by."""
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


def _guard(key: str) -> str:
    """A key that never exists, under the hash tag of ``key``."""
    return key[: key.index("}") + 1] + "nightshift:guard"


PUBLISH = _script("publish")
PUBLISH_UNIQUE = _script("publish_unique")
BEGIN_UNIQUE = _script("begin_unique")
RELEASE = _script("release")
FIND_DELAYED = _script("find_delayed")
TAKE_DELAYED = _script("take_delayed")
TAKE_READY = _script("take_ready")
PURGE = _script("purge")
RENEW = _script("renew")
CLAIM = _script("claim")
START = _script("start")
PULSE = _script("pulse")
ACKNOWLEDGE = _script("acknowledge")
REPLACE = _script("replace")
GIVE_BACK = _script("give_back")
RECLAIM = _script("reclaim")
HELD = _script("held")
RUN_NOW = _script("run_now")
HAND_OVER = _script("hand_over")
RING = _script("ring")
READ_ORDERS = _script("read_orders")
PAUSE = _script("pause")
CANCEL = _script("cancel")
SWEEP = _script("sweep")
