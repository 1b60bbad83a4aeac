"""Access to the delayed jobs of ``memory://``, one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ...message.codec import decode
from .. import payload
from ..reading import delayed_job
from ..values import DelayedJob
from .server import MemoryServer
from .stored import Stored


class MemoryDelayed:
    """The delayed jobs; ``ask(question)`` calls ``question(server)`` and raises its errors as ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[MemoryServer], Any]], Any]) -> None:
        self._ask = ask

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs of ``queue``, those due soonest first."""
        return [_job(stored, due) for due, stored in self._all(queue)[:limit]]

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs that begin or end with ``part``; only ``part`` if it is a whole id."""
        ids = [_id(stored) for _, stored in self._all(queue)]
        if part in ids:
            return [part]
        found = (id_ for id_ in ids if id_.startswith(part) or id_.endswith(part))
        return list(dict.fromkeys(found))[:limit]

    def find(self, queue: str, job_id: str) -> DelayedJob | None:
        """The job; None if it is not delayed in ``queue`` (any more)."""
        stored = self._find(queue, job_id)
        return _job(stored, None) if stored is not None else None

    def take(self, queue: str, job_id: str) -> DelayedJob | None:
        """Remove the job, so it will not run; returns it, or None if it is not delayed in ``queue`` (any more)."""
        stored = self._find(queue, job_id)
        if stored is None or not self._ask(lambda server: server.remove(stored)):
            return None
        return _job(stored, None)

    def run_now(self, queue: str, job_id: str) -> bool:
        """Move the job to the head of ``queue``; False if it is not delayed there (any more)."""
        stored = self._find(queue, job_id)
        return stored is not None and bool(self._ask(lambda server: server.run_now(stored)))

    def hand_over(self, queue: str) -> int:  # noqa: ARG002 - the Protocol's
        """Return 0: no stock Celery worker can reach this broker."""
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
