"""Peers whose libraries enqueue with asyncio: one event loop of the process that enqueues runs their calls."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from functools import cache

from .base import Peer


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process."""
    return asyncio.new_event_loop()


class AsyncPeer(Peer):
    """A peer whose calls are coroutines."""

    connected = False

    @abstractmethod
    async def connect(self) -> None:
        """Connect to the broker, before the first call."""

    @abstractmethod
    async def send(self, job: str, argument: int) -> None:
        """Enqueue one job."""

    async def send_many(self, job: str, arguments: Sequence[int]) -> None:
        """Enqueue in the library's own way (``bulk``)."""
        for argument in arguments:
            await self.send(job, argument)

    def enqueue(self, job: str, argument: int) -> None:
        self.enqueue_each(job, [argument])

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        loop().run_until_complete(self._send_each(job, arguments))

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        loop().run_until_complete(self._send_many(job, arguments))

    async def _send_each(self, job: str, arguments: Sequence[int]) -> None:
        await self._connect_once()
        for argument in arguments:
            await self.send(job, argument)

    async def _send_many(self, job: str, arguments: Sequence[int]) -> None:
        await self._connect_once()
        await self.send_many(job, arguments)

    async def _connect_once(self) -> None:
        if not self.connected:
            await self.connect()
            self.connected = True
