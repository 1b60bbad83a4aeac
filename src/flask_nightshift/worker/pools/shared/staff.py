"""The children of a pool: starts those that are missing, asks surplus ones to leave, and buries the dead."""

from __future__ import annotations

import math
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from . import process
from .child import FULL, Child, Shared, Work
from .process import Process
from .slot import BUSY

FAILED_START = 1.0
"""Seconds until the next child is started after one that died before it was ready for jobs."""
Trouble = Callable[[str, int | None], object]
"""Is told in words what is wrong with a child, and its pid; None for one that was not started."""


class Staff:
    """The children of a pool; ``size`` is how many there should be.

    ``watch`` has the descriptor of each registered, for its death. ``close`` is called in each child, and closes what
    only the parent needs. ``ready_within``: seconds after which a child that is not ready is killed and replaced.
    ``trouble`` is told what is wrong with children.
    """

    def __init__(
        self,
        size: int,
        shared: Shared,
        work: Work,
        *,
        watch: select.epoll,
        close: Callable[[], None],
        ready_within: float,
        trouble: Trouble,
        child: type[Child] = Child,
    ) -> None:
        self.size = size
        self.processes: dict[int, Process] = {}
        """By their pids."""
        self._shared, self._work, self._child = shared, work, child
        self._watch, self._close, self._ready_within = watch, close, ready_within
        self._trouble = trouble
        self.leaves = 0
        """Children to be asked to leave, once there is room in the queue."""
        self._not_before = -math.inf
        self.failed_starts = 0
        """Failed starts in a row; 0 while a child is ready for jobs."""
        self._replaced: set[int] = set()
        self._unready: set[int] = set()
        self._by_fd: dict[int, Process] = {}

    def maintain(self, now: float) -> None:
        """Start children that are missing, ask those to leave that are too many, kill those that do not get ready."""
        while self.leaves and self._shared.queue.leave():
            self.leaves -= 1
        if self._replaced and self.nudges:
            self._shared.queue.nudge()
        for each in self.processes.values():
            if each.slot.is_up:
                self.failed_starts = 0
            elif each.born + self._ready_within <= now and each.pid not in self._unready:
                self._unready.add(each.pid)
                self._trouble(f"child {each.index} does not get ready for jobs", each.pid)
                each.send(signal.SIGKILL)
        while len(self.processes) < self.size and now >= self._not_before:
            self._start(now)

    def grow(self, n: int) -> None:
        """Have ``n`` more children."""
        self.size += n

    def shrink(self, n: int) -> None:
        """Have ``n`` fewer children: whoever reads the request first leaves, after its job."""
        n = min(n, self.size)
        self.size -= n
        self.leaves += n

    def kill(self) -> None:
        """Kill all, and replace none."""
        self.size = 0
        for each in list(self.processes.values()):
            with suppress(OSError):  # buried meanwhile: a thread that ends the worker may call this
                each.send(signal.SIGKILL)

    def replace(self) -> None:
        """Replace all children; each finishes its job first."""
        for each in self.processes.values():
            each.slot.leave()
        self._replaced = set(self.processes)

    @property
    def nudges(self) -> bool:
        """Whether a child that is to be replaced waits for jobs, so it has to be nudged."""
        self._replaced &= self.processes.keys()
        return any(_is_idle(self.processes[pid]) for pid in self._replaced)

    @property
    def has_idle(self) -> bool:
        """Whether a child is ready and has no job."""
        return any(each.slot.is_up and _is_idle(each) for each in self.processes.values())

    def of_fd(self, fd: int) -> Process | None:
        """The child with this descriptor."""
        return self._by_fd.get(fd)

    def bury(self, dead: Process, now: float) -> int:
        """Remove a child that is dead; its exit code, or the negative number of the signal that killed it."""
        self._watch.unregister(dead.fd)
        del self.processes[dead.pid], self._by_fd[dead.fd]
        self._unready.discard(dead.pid)
        status = dead.bury()
        if not dead.slot.is_up:
            self._trouble(f"child {dead.index} died before it was ready: {_described(status)}", dead.pid)
            self._start_later(now)
        elif status:
            self._trouble(f"child {dead.index} died: {_described(status)}", dead.pid)
        return status

    @property
    def next(self) -> float:
        """When ``maintain`` has something to do, but for ``leaves``; infinite if never."""
        starting = (
            each.born + self._ready_within
            for each in self.processes.values()
            if not each.slot.is_up and each.pid not in self._unready
        )
        missing = [self._not_before] if len(self.processes) < self.size else []
        return min([*starting, *missing], default=math.inf)

    def _start(self, now: float) -> None:
        taken = {each.index for each in self.processes.values()}
        index = next(index for index in range(len(taken) + 1) if index not in taken)
        try:
            new = process.start(
                index, self._shared, self._work, born=now, close=self._close_in_child, of=self._child
            )
        except OSError as exc:
            self._trouble(f"no child can be started: {exc}", None)
            self._start_later(now)
            return
        self.processes[new.pid] = self._by_fd[new.fd] = new
        self._watch.register(new.fd, select.EPOLLIN)

    def _start_later(self, now: float) -> None:
        if now >= self._not_before:  # children that fail at the same time count once
            self.failed_starts += 1
            self._not_before = now + FAILED_START

    def _close_in_child(self) -> None:
        for each in self.processes.values():
            os.close(each.fd)
        self._close()


def _is_idle(child: Process) -> bool:
    mark = child.slot.read(child.pid)
    return mark is None or mark.phase not in BUSY


def _described(status: int) -> str:
    if status < 0:
        return signal.Signals(-status).name
    why = (
        ": it may open no more files, because its jobs leave files or connections open"
        if status == FULL
        else ""
    )
    return f"exit code {status}{why}"


__all__ = ["Staff"]
