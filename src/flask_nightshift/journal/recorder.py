"""The observer that turns events into history, off the hot path.

A call takes a few microseconds. One daemon thread per process writes the first event after a rest at once, then every
``INTERVAL`` seconds or ``BATCH`` records. A caller that makes events faster than the thread can write them waits for
room when ``MAX_RECORDS`` are unwritten. No caller waits for a database that is down: the journal keeps all totals and
the latest ``MAX_RECORDS`` records, and catches up later.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
import uuid
import weakref
from collections import deque

from ..domain.events import JobEvent
from ..errors import DatabaseUnavailable
from ..lifetime.forks import settle_in, when_forked
from ..store import Store
from . import batch as batches
from .attempts import Open
from .batch import Batch, Record
from .tally import Tally

INTERVAL = 0.5
"""Seconds between two writes, unless ``BATCH`` records are waiting."""
BATCH = 1000
MAX_RECORDS = 10_000
"""Maximum number of records in memory; while the database is down, the oldest are dropped first."""
ROOM_TIMEOUT = 1.0
"""Maximum seconds that a caller waits for room; after that, the database counts as down."""
BACKOFF_MAX = 5.0
"""Seconds between two attempts while the database is down."""
EXIT_TIMEOUT = 2.0
"""Maximum seconds that the end of the process waits for the last events to be written."""

logger = logging.getLogger("flask_nightshift.journal")


class Journal:
    """Writes the events of jobs to ``store``.

    ``worker`` names this process in the totals (default: host name and process id). Subscribe it to
    ``Events``. It is created before a server forks and used afterwards: a child starts empty, with its own thread.
    """

    def __init__(self, store: Store, *, worker: str | None = None) -> None:
        self._store = store
        self._worker = worker
        self._reset()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: forget unwritten events, because the parent writes them."""
        self._reset()

    def _reset(self) -> None:
        self._id = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._events: deque[JobEvent] = deque()
        self._open = Open()
        self._tally = Tally()
        self._pending: Batch | None = None
        self._settled = self._batches = self._dropped = self._lost = 0
        self._resting = True  # the thread looks at the events only when it is woken
        self._hurry = self._closing = self._away = False
        self._not_before = 0.0
        self._backoff = INTERVAL

    @property
    def worker(self) -> str:
        """The name under which this process counts."""
        return self._worker or f"{socket.gethostname()}:{os.getpid()}"

    @worker.setter
    def worker(self, name: str) -> None:
        self._worker = name

    def __call__(self, event: JobEvent) -> None:
        """Record ``event``; rarely waits for the lock, and at most ``ROOM_TIMEOUT`` for the database."""
        settle_in()
        self._events.append(event)
        if self._resting or len(self._events) == BATCH:
            self._rouse()
        if not self._has_room():
            self._make_room()

    def _rouse(self) -> None:
        """Wake the thread."""
        with self._changed:
            self._start_thread()
            self._changed.notify_all()

    def _make_room(self) -> None:
        """Wait until some records are written; if the database is down, drop the oldest."""
        with self._changed:  # do not wake the thread, which is writing or cannot write
            if not self._changed.wait_for(lambda: self._away or self._has_room(), ROOM_TIMEOUT):
                self._database_is_away(
                    f"too slow: {MAX_RECORDS:,} records have waited for {ROOM_TIMEOUT:g} s"
                )
            while not self._has_room():
                self._count(self._events.popleft())
                self._dropped += 1
                self._settled += 1

    def _has_room(self) -> bool:
        return len(self._events) <= MAX_RECORDS

    def _waiting(self) -> int:
        """Number of unwritten events; the caller must hold the lock."""
        return len(self._events) + (len(self._pending.records) if self._pending else 0)

    def _count(self, event: JobEvent) -> Record:
        """Add ``event`` to the totals, and return it with the start of its attempt, to be written."""
        start = self._open.follow(event)
        outcome = getattr(event, "outcome", None)
        if outcome is not None:
            runtime, wait = getattr(event, "runtime", None), start.wait if start else None
            reason = getattr(event, "reason", None)
            self._tally.add(event.at, event.job.task, event.job.queue, outcome, runtime, wait, reason)
        return event, start

    def start(self) -> None:
        """Start the thread now; otherwise the first event starts it."""
        settle_in()
        with self._changed:
            self._start_thread()

    def flush(self, timeout: float = 5.0) -> bool:
        """Write all events until now; returns whether that took at most ``timeout`` seconds."""
        settle_in()
        with self._changed:
            target = self._settled + self._waiting()
            if self._settled >= target:
                return True
            self._start_thread()
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._settled >= target, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write the remaining events and end the thread, within ``timeout`` seconds."""
        settle_in()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        with self._changed:
            lost, told = self._waiting(), self._lost
            self._lost = lost
        if lost not in (0, told):  # the end of the process closes the journal a second time
            logger.error("journal.lost", extra={"records": lost})

    def _start_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self._closing = False
        thread = threading.Thread(target=self._run, name="nightshift-journal", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down
            return
        if self._thread is None:
            atexit.register(_close_at_exit, weakref.ref(self))
        self._thread = thread

    def _run(self) -> None:
        mine = self._changed  # a greenlet survives in a forked child, where the journal was reset
        try:
            while (batch := self._next_batch(mine)) is not None:
                written = self._write(batch)
                if mine is not self._changed or not self._after(batch, written=written):
                    return
        finally:
            self._resting = True

    def _write(self, batch: Batch) -> bool:
        try:
            batches.write(self._store, batch)
        except DatabaseUnavailable as exc:
            self._database_is_away(exc)
        except Exception:
            logger.exception("journal.failed")
            self._database_is_away(None)
        else:
            return True
        return False

    def _next_batch(self, mine: threading.Condition) -> Batch | None:
        """Wait until a batch is due; None if the journal is closed and empty, or was reset by a fork."""
        with mine:
            self._resting = True  # clear first and then look, so that an event in between wakes us
            mine.wait_for(lambda: self._closing or self._has_work())
            self._resting = False
            if not self._has_work():
                return None
            now = time.monotonic()
            mine.wait_for(self._must_write, max(0.0, self._not_before - now))
            if mine is not self._changed:
                return None
            self._hurry = False
            if self._pending is None:
                self._pending = self._take()
                mine.notify_all()  # now there is room
            return self._pending

    def _has_work(self) -> bool:
        return self._pending is not None or bool(self._events) or bool(self._tally)

    def _must_write(self) -> bool:
        return self._closing or self._hurry or (not self._away and len(self._events) >= BATCH)

    def _take(self) -> Batch:
        records = [self._count(self._events.popleft()) for _ in range(min(BATCH, len(self._events)))]
        rows, self._tally = self._tally.rows(self.worker), Tally()
        self._batches += 1
        return Batch(self._id, self.worker, self._batches, records, rows)

    def _after(self, batch: Batch, *, written: bool) -> bool:
        """Record the outcome of the write; False if the thread must end."""
        with self._changed:
            if written:
                self._pending = None
                self._settled += len(batch.records)
                self._database_is_back()
                self._backoff = INTERVAL
                # write the backlog of a long outage without a rest
                self._hurry = self._hurry or len(self._events) >= BATCH
            else:
                self._backoff = min(BACKOFF_MAX, self._backoff * 2)
            self._not_before = time.monotonic() + self._backoff
            self._changed.notify_all()
            return written or not self._closing

    def _database_is_away(self, why: object) -> None:
        if not self._away:
            self._away = True
            logger.warning("journal.paused", extra={"error": str(why)})

    def _database_is_back(self) -> None:
        if self._away:
            self._away = False
            logger.warning("journal.resumed", extra={"dropped": self._dropped, "waiting": len(self._events)})
            self._dropped = 0


def _close_at_exit(reference: weakref.ref[Journal]) -> None:
    journal = reference()
    if journal is not None:
        journal.close(EXIT_TIMEOUT)


__all__ = ["Journal"]
