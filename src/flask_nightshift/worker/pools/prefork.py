"""Celery's pool of processes, with less work for the event loop per job.

Five things differ. A job for a child that is free is written to its pipe at once, and in one piece; Celery asks the
event loop to say that the pipe is writable, which takes one more turn of it and two system calls, and writes twice. A
job is kept without the event that a thread could wait for. What a child has reported is read in one go; Celery takes
two reads and a change of what the loop watches for each report, and there are two for each job. A child says it with a
plain pickle; billiard's can do more, which a report never needs, and takes longer than all else in sending it. And one
timer watches over the time limits of all jobs (``time_limits.py``).
"""

from __future__ import annotations

import os
import pickle
import select
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from billiard.pool import RUN, TASK, ApplyResult, Lock, job_counter
from celery.concurrency.asynpool import UNAVAIL, AsynPool, ResultHandler, Worker
from celery.concurrency.prefork import TaskPool

from .support import Support
from .time_limits import TimeLimits

PIPE_SIZE = 65536
"""Bytes that are read at once: what fits into a pipe."""
LOOK_AGAIN, LOOKS = 0.02, 50
"""Seconds between looks at a child that is ending, and how many there are."""
_SIZE = struct.Struct(">i")
_BODY_SIZE = struct.Struct(">I")
_EMPTY = memoryview(b"")


class Child(Worker):
    """What a child process does: take a job, say that it has begun, say how it ended."""

    def _make_child_methods(self, *args: Any, **kwargs: Any) -> None:
        super()._make_child_methods(*args, **kwargs)
        send = self.outq.send_payload
        self.outq.put = lambda report: send(pickle.dumps(report, pickle.HIGHEST_PROTOCOL))


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


class _Flag:
    """What ``threading.Event`` is to billiard, without its lock: in the event loop nobody waits for a job."""

    __slots__ = ("_set",)

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True


class HandedJob(ApplyResult):
    """A job that a child has or will have, as billiard keeps it. ``given`` are its attributes, by their names there."""

    _accepted = _cancelled = False
    _worker_pid = _time_accepted = _terminated = _send_ack = None
    _propagate_errors = ()  # billiard asks for it, and nowhere sets it

    def __init__(self, cache: dict[int, Any], given: dict[str, Any]) -> None:
        # not super's, which makes an Event
        self.__dict__ = given
        self._cache = cache
        self._mutex = Lock()
        self._event = _Flag()
        self._job = next(job_counter)
        cache[self._job] = self


def payload(job: Any) -> tuple[memoryview, memoryview, int]:
    """``job`` as it is written to a child: what comes first, what follows, and the size of that.

    All of it comes first if the pipe takes it in one piece, so that a child that waits for it wakes up once.
    """
    body = pickle.dumps(job, pickle.HIGHEST_PROTOCOL)
    size = _BODY_SIZE.pack(len(body))
    if len(size) + len(body) <= select.PIPE_BUF:
        return memoryview(size + body), _EMPTY, 0
    return memoryview(size), memoryview(body), len(body)


class JobProcesses(AsynPool):
    """The child processes and their pipes."""

    ResultHandler = Reports
    Worker = Child

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._limits = TimeLimits(self._limit_reached)
        super().__init__(*args, **kwargs)

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Any = (),
        kwds: Any = {},  # noqa: B006 - not changed
        *,
        callback: Any = None,
        error_callback: Any = None,
        accept_callback: Any = None,
        timeout_callback: Any = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        callbacks_propagate: Any = (),
        correlation_id: str | None = None,
        waitforslot: bool = False,  # noqa: ARG002 - the worker's semaphore counts the free children
    ) -> HandedJob | None:
        """As billiard's, whose arguments these are; None when the pool stops."""
        if self._state != RUN:
            return None
        given = {
            "correlation_id": correlation_id,
            "_callback": callback,
            "_error_callback": error_callback,
            "_accept_callback": accept_callback,
            "_timeout_callback": timeout_callback,
            "_soft_timeout": soft_timeout or self.soft_timeout,
            "_timeout": timeout or self.timeout,
            "_lost_worker_timeout": self.lost_worker_timeout,
            "_on_timeout_set": self.on_timeout_set,
            "_on_timeout_cancel": self.on_timeout_cancel,
            "_callbacks_propagate": callbacks_propagate,
        }
        handed = HandedJob(self._cache, given)
        try:
            self._quick_put((TASK, (handed._job, None, func, args, kwds)))  # noqa: SLF001 - billiard's number of it
        except BaseException:  # it cannot be pickled
            handed.discard()
            raise
        return handed

    def _create_timelimit_handlers(self, hub: Any) -> None:
        """Called when the event loop starts, and again with each new connection to the broker."""
        limits = self._limits
        self.on_timeout_set = lambda job, soft, hard: limits.begin(job._job, soft, hard)  # noqa: SLF001 - billiard's
        self.on_timeout_cancel = lambda job: limits.end(job._job)  # noqa: SLF001
        limits.use(hub.call_later)

    def _event_process_exit(self, hub: Any, child: Any) -> None:
        """A child closes its pipes a moment before its exit status can be read; billiard would look again in 5 s."""
        super()._event_process_exit(hub, child)
        self._replace_soon(hub, child, LOOKS)

    def _replace_soon(self, hub: Any, child: Any, looks: int) -> None:
        self.maintain_pool()
        if child in self._pool and looks:
            hub.call_later(LOOK_AGAIN, self._replace_soon, hub, child, looks - 1)

    def _limit_reached(self, number: int, soft: bool) -> None:
        job = self._cache.get(number)
        if job is not None:
            (self.on_soft_timeout if soft else self.on_hard_timeout)(job)

    def _create_write_handlers(self, hub: Any, **options: Any) -> None:
        watched = _Watched(hub)
        super()._create_write_handlers(watched, **options)
        hub.consolidate_callback = write = watched.consolidate_callback
        offer = self.on_poll_start  # type: ignore[has-type]
        waiting = self.outbound_buffer
        offered = True

        def write_or_wait(job: Any) -> None:
            handed = self._cache[job[1][0]]
            handed._payload = payload(job)  # noqa: SLF001 - as billiard does
            waiting.append(handed)
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


@contextmanager
def remembered(pool: Any) -> Iterator[None]:
    """Within this block ``pool`` may be flushed; jobs that living children have received are kept.

    When the connection to the broker is lost, Celery's pool drops every job whose child has not yet reported its start.
    But a job that was written to a child's pipe will run. If the pool dropped it, the job would run with no code to
    settle it, and its message would return to the queue and run a second time (invariant 5).
    """
    cache: dict[int, Any] = getattr(getattr(pool, "_pool", None), "_cache", {})  # other pools have none
    given = {number: job for number, job in cache.items() if _given(job)}
    try:
        yield
    finally:
        for number, job in given.items():
            if not job.ready():
                cache.setdefault(number, job)


def _given(job: Any) -> bool:
    child = getattr(job, "_write_to", None)
    return child is not None and child._is_alive()  # noqa: SLF001 - billiard has no other word for it


SUPPORT = Support(JobPool, keep_received=remembered)
