"""Prevent forks while SQLite works.

A worker forks children at any time, while its threads write history. SQLite's C library holds mutexes while it works. A
child that is forked at that moment inherits them locked, and hangs when it opens a database. So a fork waits until this
process has no active transaction, and new transactions wait for the fork. A transaction that waits for another process
is not active: it leaves the gate for that time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0
"""Maximum seconds that a fork waits: a child that might hang is better than a worker that hangs."""


class ForkGate:
    """A gate that any number of threads may enter at once, but none while this process forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = False
        self._mine = threading.local()
        os.register_at_fork(before=self._close, after_in_parent=self._open, after_in_child=self._anew)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Prevent forks of this process during the block; blocks may be nested."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Within ``inside()``: allow forks during the block."""
        depth, self._mine.depth = self._depth(), 1
        self._leave()
        try:
            yield
        finally:
            self._enter()
            self._mine.depth = depth

    def _depth(self) -> int:
        return int(getattr(self._mine, "depth", 0))

    def _enter(self) -> None:
        if self._depth() == 0:
            with self._changed:
                self._changed.wait_for(lambda: not self._closing)
                self._inside += 1
        self._mine.depth = self._depth() + 1

    def _leave(self) -> None:
        self._mine.depth -= 1
        if self._mine.depth == 0:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _close(self) -> None:
        """Wait until the other threads have left, and hold the lock that they need to enter."""
        self._changed.acquire()
        self._closing = True
        mine = int(bool(self._depth()))
        self._changed.wait_for(lambda: self._inside <= mine, PATIENCE)

    def _open(self) -> None:
        self._closing = False
        self._changed.notify_all()
        self._changed.release()

    def _anew(self) -> None:
        # the child has no other threads, so only this one can be inside or waiting
        self._changed = threading.Condition()
        self._closing = False
        self._inside = int(bool(self._depth()))


gate = ForkGate()

__all__ = ["ForkGate", "gate"]
