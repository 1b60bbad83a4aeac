"""What a child does: take a job, mark it, look whether it may start, run it, write its end, and again.

The order of these steps is what the parent's account of a job rests on (``accounts``).
"""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from ....lifetime.process import pid
from .fence import Fence
from .queue import JobQueue, Taken
from .reports import Reports
from .ring import LARGEST, End, Kind, Ring
from .signals import Signals, SoftLimitReached, ToldToEnd
from .slot import Slot
from .support import die_with_parent
from .tickets import Tickets

BATCH = 16
"""Ends without a body that are told together; fewer if the queue is empty. The parent looks by itself, too."""
LOOK_AGAIN = 0.005
"""Seconds between two looks at a closed fence or a full ring."""
FULL = errno.EMFILE
"""Exit code of a child that may open no more files: its jobs leak them."""
TRACEBACK = 8000
"""Bytes of a traceback that are kept."""


def _nothing(_: int) -> None:
    pass


def _for_ever(_: int) -> bool:
    return True


def _always(_: bytes) -> bool:
    return True


def _described(_: BaseException) -> bytes:
    return traceback.format_exc().encode(errors="backslashreplace")[-TRACEBACK:]


def _nothing_before() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Work:
    """What the children are for. All of it is called in a child, but ``before_fork`` in the parent, before each fork.

    ``run`` runs a job; it returns what the parent is told of its end, nothing if that is "it ended". ``begin`` is
    called first, with the child's index, ``leave`` last, with its exit code. After each job ``stays`` is asked, with
    the number of jobs run, whether the child takes another one. ``soft_limit`` is raised in ``run`` for a soft limit.
    ``returned`` says of what ``run`` returned whether the job must never run again: if the child dies before the parent
    can read it, the job has ended, and is not lost. ``raised`` makes the body of the end of what ``run`` raised.
    """

    run: Callable[[bytes], bytes]
    begin: Callable[[int], None] = _nothing
    stays: Callable[[int], bool] = _for_ever
    leave: Callable[[int], None] = _nothing
    soft_limit: type[BaseException] = SoftLimitReached
    returned: Callable[[bytes], bool] = _always
    raised: Callable[[BaseException], bytes] = _described
    before_fork: Callable[[], None] = _nothing_before


@dataclass(frozen=True, slots=True)
class Shared:
    """What all processes of a pool share."""

    queue: JobQueue
    reports: Reports
    tickets: Tickets
    fence: Fence


class Child:
    """The loop of one child; to be made in the parent and run in the child."""

    def __init__(self, shared: Shared, slot: Slot, ring: Ring, work: Work) -> None:
        self._queue, self._reports = shared.queue, shared.reports
        self._tickets, self._fence = shared.tickets, shared.fence
        self._slot, self._ring = slot, ring
        self._work = work
        self._signals = Signals(slot, work.soft_limit)
        self._parent = os.getpid()
        self._pid = 0
        self._untold = 0
        self._is_full = False

    def main(self, index: int) -> NoReturn:
        """All that this process does; ends it."""
        code = 1
        try:
            self._pid = pid()
            die_with_parent(self._parent)
            self._queue.close_parents_end()
            self._reports.close_parents_end()
            self._work.begin(index)
            self._signals.install()
            self._slot.up()
            self._reports.tell()
            self._serve()
            code = FULL if self._is_full else self._signals.told_to_end
        except ToldToEnd:
            code = self._signals.told_to_end
        except BaseException:  # noqa: BLE001 - the process ends by it
            traceback.print_exc()
        finally:
            with suppress(BaseException):
                self._work.leave(code)
            _exit(code)

    def _serve(self) -> None:
        jobs = 0
        while taken := self._take():
            ran = self.handle(taken)
            jobs += ran
            if self._is_full or self._is_to_leave() or (ran and not self._work.stays(jobs)):
                break
        self._tell()

    def _take(self) -> Taken | None:
        """The next job. Before the child waits for one, it tells what it has not told yet."""
        if self._untold:
            with suppress(BlockingIOError):
                return self._queue.take(wait=False)
            self._tell()
        signals = self._signals
        try:
            signals.waits = True  # from now on a signal raises; ``_is_to_leave`` sees one that came before
            return self._queue.take(wait=True, leaves=self._is_to_leave)
        finally:
            signals.waits = False

    def _is_to_leave(self) -> bool:
        return bool(self._signals.told_to_end) or self._slot.leaves

    def handle(self, taken: Taken) -> bool:
        """Run one job, unless it was taken back; whether it ran."""
        ticket = taken.ticket
        self._slot.mark(ticket)
        if not self._may_start(ticket):
            self._end(End(ticket, Kind.REFUSED, 0, 0, b""))
            self._slot.clear()
            return False
        started = time.monotonic_ns()
        self._slot.run(ticket, started)
        if taken.announce:
            self._tell()
        kind, body = self._run(ticket, taken.payload)
        if final := kind is Kind.RETURNED and self._work.returned(body):
            self._slot.end(ticket)
        runtime = time.monotonic_ns() - started
        if len(body) > LARGEST:
            self._is_full = not self._reports.send(ticket, body)
            kind, body = Kind.PARCEL if final else Kind.OPEN_PARCEL, b""
        self._end(End(ticket, kind, started, runtime, body))
        return True

    def _may_start(self, ticket: int) -> bool:
        """Whether the job may start; waits while the fence is closed. False once it was taken back."""
        while self._tickets.is_valid(ticket):
            self._stop_if_orphaned()
            if self._signals.told_to_end:
                raise ToldToEnd
            if self._fence.is_open():
                return True
            self._wait()
        return False

    def _run(self, ticket: int, payload: bytes) -> tuple[Kind, bytes]:
        signals = self._signals
        body = None
        try:
            signals.begin_body(ticket)
            body = self._work.run(payload)
            signals.body_of = 0
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the child goes on
            signals.body_of = 0
            if signals.told_to_end and body is None:  # the body was broken off, so the job is lost, not ended
                raise ToldToEnd from None
            if body is None:
                return Kind.RAISED, self._work.raised(exc)
        finally:
            if pid() != self._pid:  # a copy that the job forked
                _exit(0)
        return Kind.RETURNED, body

    def _end(self, end: End) -> None:
        while not self._ring.put(end):
            self._wait()
            self._stop_if_orphaned()
        self._untold += 1
        if end.body or end.kind is not Kind.RETURNED or self._untold >= BATCH:
            self._tell()

    def _tell(self) -> None:
        self._untold = 0
        self._reports.tell()

    def _wait(self) -> None:
        self._tell()
        time.sleep(LOOK_AGAIN)

    def _stop_if_orphaned(self) -> None:
        if os.getppid() != self._parent:
            os._exit(1)


def _exit(code: int) -> NoReturn:
    """End the process without the parent's clean-up, which it has a copy of."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


__all__ = ["FULL", "Child", "Shared", "Work"]
