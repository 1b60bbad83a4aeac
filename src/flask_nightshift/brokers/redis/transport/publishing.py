"""Publishing: kombu's own JSON on kombu's own lists.

New besides: a message that is due later goes to the delayed set of its queue, a doorbell is rung, one script publishes
many messages, and a publish that is repeated because its answer was lost does nothing.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from kombu.transport import redis
from redis import ConnectionPool

from ....lifetime.process import pid
from ....message.copies import REMEMBERED, Copy
from . import scripts
from .keys import KeySpace
from .raw_connection import RawConnection

Once = tuple[str, int]
"""``(publisher name, sequence number)`` identifies a publish, so that the script drops a repeated one.

A publisher publishes one after the other.
"""


_MOST_KNOWN = 1000
_TAGS = secrets.token_hex(8)
_TAG_NUMBERS = itertools.count()


def next_tag() -> str:
    """A unique delivery tag, for kombu's own consumers; a random one would cost a system call for each message."""
    return f"{_TAGS}.{pid()}.{next(_TAG_NUMBERS)}"


class Publisher:
    """Publishes for one channel; ``pool`` gives the pool for its connection."""

    def __init__(self, keys: KeySpace, pool: Callable[[], ConnectionPool]) -> None:
        self.keys = keys
        self._pool = pool
        self._connection: RawConnection | None = None
        self._where: dict[tuple[str, int, str], list[str]] = {}

    def publish(
        self,
        queue: str,
        step: int,
        due: float,
        payloads: Sequence[bytes],
        once: Once | None = None,
        copies: Sequence[Copy] = (),
    ) -> list[int]:
        """Publish ``payloads`` to one priority step of ``queue``, all or none.

        ``due`` is in unix seconds, 0 for at once. ``copies`` are given for payloads that came from an outbox, with
        ``once``: returns the positions of those that are a second publish of their attempt and so were not enqueued.
        Raises what redis-py does.
        """
        if self._connection is None:
            self._connection = RawConnection(self._pool())
        name, number = once or ("", 0)
        where = self._where.get((queue, step, name)) or self._keys_of(queue, step, name)
        at, seconds = f"{due:.6f}" if due else 0, REMEMBERED if copies else 0
        if copies:
            where = [*where, *(self.keys.copy(*copy.of) for copy in copies)]
            payloads = [*(b"%d" % copy.number for copy in copies), *payloads]
        refused: list[int] = scripts.PUBLISH.run(
            self._connection, where, [at, step, number, seconds, *payloads]
        )
        return refused

    def run(
        self,
        script: scripts.Script,
        queue: str,
        step: int,
        name: str,
        keys: Sequence[str],
        args: Sequence[Any],
    ) -> Any:
        """Run ``script`` for one priority step of ``queue``: its keys begin as those of ``publish.lua``."""
        if self._connection is None:
            self._connection = RawConnection(self._pool())
        to = self.keys.destination(queue, step)
        where = [to.ready, to.delayed, to.bell, self.keys.publisher(name)]
        return script.run(self._connection, [*where, *keys], args)

    def _keys_of(self, queue: str, step: int, name: str) -> list[str]:
        """Ready list, delayed set, doorbell, and the publisher's number if the publisher has a name."""
        to = self.keys.destination(queue, step)
        where = [to.ready, to.delayed, to.bell, *([self.keys.publisher(name)] if name else ())]
        if len(self._where) >= _MOST_KNOWN:
            self._where.clear()
        self._where[queue, step, name] = where
        return where

    def forget_connection(self) -> None:
        """The pool is closed: the next publish takes a connection of a new one."""
        self._connection = None


class PublishBatch(redis.PublishBatch):
    """kombu's batch of publishes in one pipeline, which also rings."""

    def __init__(self, channel: Any, keys: KeySpace, max_size: int) -> None:
        super().__init__(channel, max_size)
        self._keys = keys
        self._bells: set[str] = set()

    def ring(self, queue: str) -> None:
        """Ring for ``queue`` at the end."""
        self._bells.add(queue)

    def flush(self) -> None:
        """Execute the pending commands, with one ring for each queue at the end."""
        if self._buffered:
            for queue in self._bells:
                # a command that kombu's prefixing pipeline leaves as it is
                self.pipeline.execute_command(*scripts.RING.by_source([self._keys.bell(queue)], []))
            self._bells.clear()
        super().flush()


__all__ = ["Once", "PublishBatch", "Publisher", "next_tag"]
