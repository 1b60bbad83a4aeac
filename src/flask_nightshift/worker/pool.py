"""Celery's pool of processes, with less work for the event loop per job.

Two things differ. A job for a child that is free is written to its pipe at once; Celery asks the event loop to say
that the pipe is writable, which takes one more turn of it and two system calls. And one timer watches over the
time limits of all jobs (``time_limits.py``).
"""

from __future__ import annotations

from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

from .time_limits import TimeLimits


class JobProcesses(AsynPool):
    """The child processes and their pipes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._limits = TimeLimits(self._limit_reached)
        super().__init__(*args, **kwargs)

    def _create_timelimit_handlers(self, hub: Any) -> None:
        """Called when the event loop starts, and again with each new connection to the broker."""
        limits = self._limits
        self.on_timeout_set = lambda job, soft, hard: limits.begin(job._job, soft, hard)  # noqa: SLF001 - billiard's
        self.on_timeout_cancel = lambda job: limits.end(job._job)  # noqa: SLF001
        limits.use(hub.call_later)

    def _limit_reached(self, number: int, soft: bool) -> None:
        job = self._cache.get(number)
        if job is not None:
            (self.on_soft_timeout if soft else self.on_hard_timeout)(job)

    def _create_write_handlers(self, hub: Any, **options: Any) -> None:
        super()._create_write_handlers(hub, **options)
        enqueue, offer = self._quick_put, self.on_poll_start  # type: ignore[has-type]
        waiting = self.outbound_buffer
        write = hub.consolidate_callback
        offered = True

        def write_or_wait(job: Any) -> None:
            enqueue(job)
            if free := self._all_inqueues - self._busy_workers - self._active_writes:
                write(list(free))

        def offer_what_waits() -> None:
            nonlocal offered
            if waiting or offered:
                offered = bool(waiting)
                offer()

        self._quick_put, self.on_poll_start = write_or_wait, offer_what_waits


class JobPool(TaskPool):
    """What ``--pool prefork`` is in our workers."""

    Pool = JobProcesses
