"""Access to the delayed jobs of ``memory://``, one by one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ...message.codec import decode
from .. import payload
from ..reading import delayed_job
from ..values import DelayedJob, Dues
from .server import MemoryServer
from .stored import Stored


class MemoryDelayed:
    """The delayed jobs; ``ask(question)`` calls ``question(server)`` and raises its errors as ``BrokerUnavailable``."""

    def __init__(self, ask: Callable[[Callable[[MemoryServer], Any]], Any]) -> None:
        self._ask = ask

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs of ``queue``, those due soonest first."""
        return [_job(stored, due) for due, stored in self._all(queue)[:limit]]

    def following(self, queue: str, limit: int, after: tuple[datetime, str] | None) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs of ``queue`` by time and id, those that follow ``after``."""
        jobs = [_job(stored, due) for due, stored in self._all(queue)]
        placed = sorted(((job.due, job.job_id), job) for job in jobs if job.due is not None)
        return [job for place, job in placed if after is None or place > after][:limit]

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs that begin or end with ``part``; only ``part`` if it is a whole id."""
        ids = [_id(stored) for _, stored in self._all(queue)]
        if part in ids:
            return [part]
        found = (id_ for id_ in ids if id_.startswith(part) or id_.endswith(part))
        return list(dict.fromkeys(found))[:limit]

    def find(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Those of the jobs that are delayed in ``queue``."""
        return [_job(stored, None) for stored in self._find(queue, wanted)]

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Remove the jobs, so they will not run; returns those that were delayed in ``queue``."""
        found = self._find(queue, wanted)
        taken = self._ask(lambda server: [each for each in found if server.remove(each)])
        return [_job(stored, None) for stored in taken]

    def run_now(self, queue: str, wanted: Dues) -> list[str]:
        """Move the jobs to the head of ``queue``, in their order; the ids of those that were delayed there."""
        found = self._find(queue, wanted)
        moved = self._ask(lambda server: [each for each in reversed(found) if server.run_now(each)])
        return [_id(stored) for stored in moved]

    def hand_over(self, queue: str) -> int:  # noqa: ARG002 - the Protocol's
        """Return 0: no stock Celery worker can reach this broker."""
        return 0

    def _find(self, queue: str, wanted: Dues) -> list[Stored]:
        return [stored for _, stored in self._all(queue) if _id(stored) in wanted]

    def _all(self, queue: str) -> list[tuple[float, Stored]]:
        return list(self._ask(lambda server: server.delayed(queue)))


def _id(stored: Stored) -> str:
    return payload.job_id(decode(stored.payload))


def _job(stored: Stored, due: float | None) -> DelayedJob:
    moment = datetime.fromtimestamp(due, UTC) if due is not None else None
    return delayed_job(_id(stored), stored.queue, moment, decode(stored.payload))
