"""How the parent learns what its children did: from their slots and rings, the queue's head, and their deaths."""

from __future__ import annotations

import math
import time

from .accounts import Accounts
from .process import Process
from .queue import JobQueue
from .reports import Reports
from .ring import End, Kind
from .slot import Mark, Phase
from .staff import Staff

AUDIT = 0.25
"""Seconds between two searches for jobs that a child has taken and not marked."""


class Observer:
    """Reads the memory of the children in ``staff`` and enters what it says in ``accounts``."""

    def __init__(self, accounts: Accounts, queue: JobQueue, reports: Reports, staff: Staff) -> None:
        self._accounts, self._queue, self._reports, self._staff = accounts, queue, reports, staff
        self._next_audit = -math.inf
        self._last_head = math.inf

    def turn(self) -> None:
        """Look; now and then, also search for jobs that a child has taken and not marked."""
        if self._accounts.sent and time.monotonic() >= self._next_audit:
            self._audit()
        else:
            self.look()

    def look(self) -> tuple[float, list[Mark]]:
        """Read the slots and then the rings; returns when that began, and what the slots said."""
        seen = time.monotonic()
        children = self._staff.processes.values()
        marks = [mark for child in children if (mark := child.slot.read(child.pid))]
        ends = [(child.pid, self._reports.whole(end)) for child in children for end in child.ring.take()]
        self._accounts.observe(seen, marks, ends)
        return seen, marks

    def bury(self, dead: Process) -> None:
        """Read the last words of a child; hand out again what it may have taken and not marked."""
        head = self._head()
        seen, marks = self.look()
        status = self._staff.bury(dead, seen)
        last = dead.slot.read(dead.pid)
        if last and last.phase >= Phase.RUNS and (body := self._reports.body(last.ticket)) is not None:
            end = End(last.ticket, Kind.RETURNED, last.started, 0, body)  # sent, and not announced any more
            self._accounts.observe(seen, (), [(dead.pid, end)])
        self._accounts.bury(dead.pid, status, last)
        self._accounts.suspect(seen, head, marks, patience=0)

    def _audit(self) -> None:
        self._next_audit = time.monotonic() + AUDIT
        head = self._head()
        seen, marks = self.look()
        self._accounts.suspect(seen, head, marks)
        if head == self._last_head < math.inf and self._staff.has_idle:
            self._queue.nudge()
        self._last_head = head

    def _head(self) -> float:
        head = self._queue.head()
        return math.inf if head is None else head


__all__ = ["Observer"]
