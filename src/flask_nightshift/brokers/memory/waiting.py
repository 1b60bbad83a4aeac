"""Takes jobs that wait out of the queues of ``memory://``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...message.codec import decode
from .. import payload
from ..reading import delayed_job
from ..values import DelayedJob, Dues
from .server import MemoryServer


class MemoryWaiting:
    """``ask(question)`` calls ``question(server)`` and raises its errors as ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[MemoryServer], Any]], Any]) -> None:
        self._ask = ask

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """All of them."""
        taken: list[DelayedJob] = self._ask(lambda server: _take(server, queue, wanted))
        return taken


def _take(server: MemoryServer, queue: str, wanted: Dues) -> list[DelayedJob]:
    taken = []
    for stored in (*server.ready(queue), *(stored for _, stored in server.delayed(queue))):
        body = decode(stored.payload)
        if payload.job_id(body) in wanted and server.remove(stored):
            taken.append(delayed_job(payload.job_id(body), queue, None, body))
    return taken


__all__ = ["MemoryWaiting"]
