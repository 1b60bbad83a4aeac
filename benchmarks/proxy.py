"""A TCP proxy that adds 1 ms each way, as a separate process; it keeps the order of bytes, and pipelining works.

The loop waits with ``select()``, whose timeout has microseconds. With epoll or uvloop, a delay of 1 ms would become 1
to 2 ms. There are few connections, so ``select()`` is fast enough; ``Proxy.share`` reports how busy the proxy was.
"""

from __future__ import annotations

import asyncio
import re
import selectors
import statistics
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import cast

import redis

from .errors import PeerFailed
from .processes import Tree

DELAY_SECONDS = 0.001


class Way(asyncio.Protocol):
    """One direction of a connection: it forwards what it receives after ``DELAY_SECONDS``."""

    def __init__(self) -> None:
        self.opposite: Way | None = None
        self.transport: asyncio.Transport | None = None
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        due = self._loop.time() + DELAY_SECONDS
        self._waiting.append((due, data))
        if len(self._waiting) == 1:
            self._loop.call_at(due, self._pass_on)

    def _pass_on(self) -> None:
        """Forward everything that is due."""
        now, due_data = self._loop.time(), []
        while self._waiting and self._waiting[0][0] <= now:
            due_data.append(self._waiting.popleft()[1])
        if due_data and self.opposite is not None and self.opposite.transport is not None:
            self.opposite.transport.write(b"".join(due_data))
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._pass_on)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self.opposite is not None and self.opposite.transport is not None:
            self.opposite.transport.close()


class Client(Way):
    """The client's side: it connects to the server before it reads anything."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast("asyncio.Transport", transport).pause_reading()
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        try:
            _, server = await self._loop.create_connection(Way, "127.0.0.1", self._port)
        except OSError:
            self.transport.abort()
            return
        self.opposite, server.opposite = server, self
        self.transport.resume_reading()


async def serve(target: int) -> None:
    """Serve for ever; prints its own port to standard output."""
    server = await asyncio.get_running_loop().create_server(lambda: Client(target), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Proxy:
    """A context manager that runs the proxy for the server at ``port`` as a process."""

    def __init__(self, port: int, log: Path) -> None:
        self.target, self.log = port, log

    def __enter__(self) -> Proxy:
        words = ["python", "-m", "benchmarks.proxy", str(self.target)]
        self.tree = Tree(words, {}, self.log, stdout=subprocess.PIPE, text=True)
        assert self.tree.popen.stdout is not None
        line = self.tree.popen.stdout.readline()
        if not line:
            raise PeerFailed(f"the proxy did not start: {self.tree.last_line()}")
        self.port = int(line)
        self._cpu, self._begun = 0.0, time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.tree.stop()

    def url(self, url: str) -> str:
        """``url`` with the proxy's port."""
        return re.sub(rf":{self.target}/", f":{self.port}/", url)

    def restart_clock(self) -> None:
        """Start a new period for ``share``."""
        self._cpu, self._begun = self.tree.cpu(), time.perf_counter()

    def share(self) -> float:
        """The share of one core used since ``restart_clock``; near 1, the proxy itself was the bottleneck."""
        return (self.tree.cpu() - self._cpu) / (time.perf_counter() - self._begun)


def added_round_trip(url: str, port: int, log: Path) -> float:
    """The measured number of seconds that the proxy adds to a round trip to the Redis at ``url``."""
    with Proxy(port, log) as proxy:
        return _round_trip(proxy.url(url)) - _round_trip(url)


def _round_trip(url: str, times: int = 200) -> float:
    found = []
    with redis.Redis.from_url(url) as client:
        client.ping()
        for _ in range(times):
            begun = time.perf_counter()
            client.ping()
            found.append(time.perf_counter() - begun)
    return statistics.median(found)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(serve(int(sys.argv[1])))
