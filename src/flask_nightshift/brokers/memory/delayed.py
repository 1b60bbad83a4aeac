"""The delayed jobs of ``memory://``, one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ...message.codec import decode
from .. import payload
from ..base import DelayedJob
from ..reading import delayed_job
from .server import MemoryServer, Stored


class MemoryDelayed:
    """``ask(question)`` calls ``question(server)`` and turns its errors into ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[MemoryServer], Any]], Any]) -> None:
        self._ask = ask

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """The next delayed jobs of ``queue``, the soonest first."""
        return [_job(stored, due) for due, stored in self._all(queue)[:limit]]

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs of ``queue`` that begin or end with ``part``; a whole id goes first."""
        ids = [_id(stored) for _, stored in self._all(queue)]
        if part in ids:
            return [part]
        found = (id_ for id_ in ids if id_.startswith(part) or id_.endswith(part))
        return list(dict.fromkeys(found))[:limit]

    def take(self, queue: str, job_id: str) -> DelayedJob | None:
        """Take the job out of ``queue``: it will not run. None if it is not delayed there (any more)."""
        stored = self._find(queue, job_id)
        if stored is None or not self._ask(lambda server: server.remove(stored)):
            return None
        return _job(stored, None)

    def run_now(self, queue: str, job_id: str) -> bool:
        """Have the job run next; False if it is not delayed in ``queue`` (any more)."""
        stored = self._find(queue, job_id)
        return stored is not None and bool(self._ask(lambda server: server.run_now(stored)))

    def hand_over(self, queue: str) -> int:  # noqa: ARG002 - the Protocol's
        """None: no worker without Nightshift reaches this broker."""
        return 0

    def _find(self, queue: str, job_id: str) -> Stored | None:
        return next((stored for _, stored in self._all(queue) if _id(stored) == job_id), None)

    def _all(self, queue: str) -> list[tuple[float, Stored]]:
        return list(self._ask(lambda server: server.delayed(queue)))


def _id(stored: Stored) -> str:
    return payload.job_id(decode(stored.payload))


def _job(stored: Stored, due: float | None) -> DelayedJob:
    moment = datetime.fromtimestamp(due, UTC) if due is not None else None
    return delayed_job(_id(stored), stored.queue, moment, decode(stored.payload))
