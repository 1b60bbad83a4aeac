"""Celery's pool of processes, with less work for the event loop per job.

Three things differ. A job for a child that is free is written to its pipe at once; Celery asks the event loop to say
that the pipe is writable, which takes one more turn of it and two system calls. What a child has reported is read in
one go; Celery takes two reads and a change of what the loop watches for each report, and there are two for each job.
And one timer watches over the time limits of all jobs (``time_limits.py``).
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable, Iterator
from typing import Any

from celery.concurrency.asynpool import UNAVAIL, AsynPool, ResultHandler
from celery.concurrency.prefork import TaskPool

from .time_limits import TimeLimits

PIPE_SIZE = 65536
"""Bytes that are read at once: what fits into a pipe."""
_SIZE = struct.Struct(">i")


class Reports(ResultHandler):
    """What the children say: that they began a job, and how it ended."""

    def _recv_message(
        self, add_reader: Callable[..., Any], fd: int, callback: Callable[[Any], Any]
    ) -> Iterator[None]:
        """Read what is there and tell ``callback``; suspended while a report has arrived only in part.

        While it is suspended the event loop resumes it, and no longer calls our handler; at the end of the worker
        Celery does (``_finish_partial_read``).
        """
        data = bytearray()
        suspended = False
        while True:
            try:
                chunk = os.read(fd, PIPE_SIZE)
            except OSError as exc:
                if exc.errno not in UNAVAIL:
                    raise
                suspended = True
                yield
                continue
            if not chunk:
                raise OSError("end of file during a report") if data else EOFError
            data += chunk
            reports = list(whole(data))
            if suspended and not data:
                add_reader(fd, self.handle_event, fd)
            for report in filter(None, reports):
                callback(report)
            if not data:
                return


def whole(data: bytearray) -> Iterator[Any]:
    """Take the reports from ``data`` that have arrived whole; the beginning of another stays."""
    start = 0
    with memoryview(data) as view:
        while len(view) - start >= _SIZE.size:
            (size,) = _SIZE.unpack_from(view, start)
            end = start + _SIZE.size + size
            if end > len(view):
                break
            yield pickle.loads(view[start + _SIZE.size : end])  # noqa: S301 - from our own children
            start = end
    del data[:start]


class JobProcesses(AsynPool):
    """The child processes and their pipes."""

    ResultHandler = Reports

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
        watched = _Watched(hub)
        super()._create_write_handlers(watched, **options)
        hub.consolidate_callback = write = watched.consolidate_callback
        enqueue, offer = self._quick_put, self.on_poll_start  # type: ignore[has-type]
        waiting = self.outbound_buffer
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


class _Watched:
    """The event loop, which is not asked to stop watching a pipe that it does not watch: it would be a system call."""

    consolidate_callback: Any = None

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._writers = hub.writers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def remove_writer(self, fd: int) -> None:
        if fd in self._writers:
            self._hub.remove_writer(fd)


class JobPool(TaskPool):
    """What ``--pool prefork`` is in our workers."""

    Pool = JobProcesses
