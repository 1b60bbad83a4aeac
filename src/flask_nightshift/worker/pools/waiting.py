"""Jobs that wait in this process for a free thread or greenlet.

Invariant: a job that was put in is taken exactly once, by a thread that runs it or by whoever takes it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from typing import Any

from ...lifetime import greenlets
from .revoked import is_revoked


class WaitingJob:
    """One call for the pool; ``told`` are the options that the request gives to it."""

    __slots__ = ("args", "kwargs", "target", "told")

    def __init__(self, target: Callable[..., Any], args: Any, kwargs: Any, told: dict[str, Any]) -> None:
        self.target, self.args, self.kwargs, self.told = target, args, kwargs, told

    @property
    def is_revoked(self) -> bool:
        """Whether it was revoked while it waited."""
        return is_revoked(self.told.get("correlation_id"), self.told.get("stamps") or {})

    def come_back(self) -> None:
        """It has not begun, and will not."""
        back = self.told.get("return_callback")
        if back is not None:
            back()


class Waiting:
    """The jobs that wait for one of the ``places``; safe to use from several threads."""

    def __init__(self, places: int) -> None:
        self._jobs: deque[WaitingJob] = deque()
        self._places, self._busy = places, 0
        self._lock = greenlets.os_lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: WaitingJob) -> bool:
        """``job`` waits; True if a place is free, which the caller then fills: it calls ``take``."""
        with self._lock:
            self._jobs.append(job)
            if self._busy >= self._places:
                return False
            self._busy += 1
            return True

    def take(self) -> WaitingJob | None:
        """The next job for a place; None if there is none for it, and the place is free again."""
        with self._lock:
            if self._jobs and self._busy <= self._places:
                return self._jobs.popleft()
            self._busy -= 1
            return None

    def take_all(self, ids: Container[str] | None = None) -> list[WaitingJob]:
        """Every job that waits, or those of ``ids``: none of them will begin here."""
        with self._lock:
            jobs = [each for each in self._jobs if ids is None or each.told.get("correlation_id") in ids]
            taken = set(jobs)
            self._jobs = deque(each for each in self._jobs if each not in taken)
            return jobs

    def change(self, by: int) -> int:
        """Add places, or remove them if ``by`` is negative; returns how many to fill, as after ``put``."""
        with self._lock:
            self._places += by
            more = max(0, min(len(self._jobs), self._places - self._busy))
            self._busy += more
            return more


class GivesBack:
    """The part of a pool that gives back what no thread or greenlet has begun; Celery's pool class follows it."""

    takes_back = True
    """As in ``JobPool``."""
    limit: int

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting = Waiting(self.limit)

    @property
    def unstarted(self) -> int:
        """How many jobs have not begun."""
        return len(self._waiting)

    def take_back_unstarted(self, ids: Container[str] | None = None) -> None:
        """Take back what has not begun, all or the jobs ``ids``; each one's ``return_callback`` is called."""
        for job in self._waiting.take_all(ids):
            job.come_back()

    def on_close(self) -> None:
        """The worker stops: what has not begun goes back to the broker."""
        self.take_back_unstarted()

    def flush(self) -> None:
        """The connection is lost, and the broker will deliver its messages again: drop what has not begun."""
        self._waiting.take_all()


__all__ = ["GivesBack", "Waiting", "WaitingJob"]
