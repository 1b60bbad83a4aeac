"""The places of a pool: how many jobs Celery hands to it at a time. The others wait in the worker's semaphore."""

from __future__ import annotations

from typing import Any


class Places:
    """Celery's semaphore (kombu's ``LaxBoundedSemaphore``), with a count that stays right after the pool has shrunk."""

    def __init__(self, semaphore: Any) -> None:
        self._semaphore = semaphore
        self._taken = 0

    def take(self) -> None:
        """A job was handed to the pool; Celery has taken the place for it."""
        self._taken += 1

    def free(self) -> None:
        """The job has ended: the next that waits is handed out, unless there are fewer places now."""
        self._taken -= 1
        self._release()

    def forget(self) -> None:
        """Celery has cleared the semaphore: no job has a place any more."""
        self._taken = 0

    def change(self, by: int) -> None:
        """Add ``by`` places, or remove them if ``by`` is negative."""
        if by < 0:
            self._semaphore.shrink(-by)
            return
        self._semaphore.initial_value += by  # its own ``grow`` makes two places of one that is waited for
        for _ in range(by):
            self._release()

    def _release(self) -> None:
        if self._taken < self._semaphore.initial_value:
            self._semaphore.release()


__all__ = ["Places"]
