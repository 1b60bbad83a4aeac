"""The observer that turns events into history, off the hot path.

A call takes a few microseconds. One thread per process writes the first event after a rest at once, then every
``INTERVAL`` seconds or ``BATCH`` records. A caller that makes events faster than the thread can write them waits for
room when ``MAX_RECORDS`` are unwritten. No caller waits for a database that is down: the journal keeps all totals and
the latest ``MAX_RECORDS`` records, and catches up later.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from sqlalchemy import Connection

from ..background.loop import Backoff, Loop, Work
from ..domain.events import JobEvent
from ..domain.job import JobRef
from ..domain.recording import ALL
from ..lifetime.forks import reset_if_forked, when_forked
from ..store import Store, ledger
from . import batch as batches
from .batch import Batch
from .earlier import EarlierJobs
from .following import Open, Record
from .progress import Progress
from .recorded import chooser, has_row, kinds
from .tally import Tally

INTERVAL = 0.5
"""Seconds between two writes, unless ``BATCH`` events are waiting."""
BATCH = 2000
"""Most events in one transaction. Each transaction has a price of its own, and so has each page that it writes: 4,000
events would cost a tenth less of this thread's time, and 3 MiB more memory."""
MAX_RECORDS = 10_000
"""Maximum number of records in memory; while the database is down, the oldest are dropped first."""
MAX_LATER = 10_000
"""Other statements that are kept in memory while the database is down."""
MAX_PUBLISHED = 100_000
"""Rows of the outbox to delete that are kept in memory; the relay publishes the others again, as duplicates."""
ROOM_TIMEOUT = 1.0
"""Maximum seconds that a caller waits for room; after that, the database counts as down."""
BACKOFF = Backoff(first=1.0, most=5.0)
"""Between two attempts while the database is down."""
EXIT_TIMEOUT = 2.0
"""Maximum seconds that the end of the process waits for the last events to be written."""

logger = logging.getLogger("flask_nightshift.journal")


class Journal(Work):
    """Writes the events of jobs to ``store``.

    ``worker`` names this process in the totals (default: host name and process id). ``history`` is
    ``NIGHTSHIFT_HISTORY``. Subscribe it to ``Events``, for its ``kinds``. It is created before a server forks and used
    afterwards: a child starts empty, with its own thread.
    """

    def __init__(self, store: Store, *, worker: str | None = None, history: str = ALL) -> None:
        self._store = store
        self._history = history
        self._is_recorded = chooser(history)
        self._earlier = EarlierJobs(store, history)
        self.kinds = kinds(history)
        """The kinds of events that it needs."""
        self._worker = worker
        self._loop = Loop(self, "nightshift-journal", BACKOFF)
        self._reset()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: forget unwritten events, because the parent writes them."""
        self._reset()

    def _reset(self) -> None:
        self._id = uuid.uuid4().hex
        self._events: deque[JobEvent] = deque()
        self._open = Open()
        self._tally = Tally()
        self._published: deque[str] = deque(maxlen=MAX_PUBLISHED)
        self._kept: deque[str] = deque(maxlen=MAX_PUBLISHED)
        self._later: deque[Callable[[Connection], object]] = deque(maxlen=MAX_LATER)
        self._ended: list[ledger.Ended] = []  # of durable jobs; no outcome is dropped
        self._reporting: deque[Progress] = deque(
            maxlen=MAX_RECORDS
        )  # attempts whose last report is unwritten
        self._pending: Batch | None = None
        self._settled = self._batches = self._dropped = self._uncounted = self._lost = 0
        self._resting = True  # the thread looks at the events only when it is woken
        self._closed_at_exit = False

    @property
    def worker(self) -> str:
        """The name under which this process counts."""
        return self._worker or f"{socket.gethostname()}:{os.getpid()}"

    @worker.setter
    def worker(self, name: str) -> None:
        self._worker = name

    def __call__(self, event: JobEvent) -> None:
        """Record ``event``; rarely waits for the lock, and at most ``ROOM_TIMEOUT`` for the database."""
        reset_if_forked()
        events = self._events
        events.append(event)
        unwritten = len(events)
        if self._resting or unwritten == BATCH:
            self._rouse()
        if unwritten > MAX_RECORDS:
            self._make_room()

    def forget(self, rows: Iterable[str]) -> None:
        """Delete these rows of the outbox with the next batch: their messages are in the broker."""
        reset_if_forked()
        self._published.extend(rows)
        if self._resting:
            self._rouse()

    def keep(self, rows: Iterable[str]) -> None:
        """Note with the next batch that these rows of the outbox, of durable jobs, are published."""
        reset_if_forked()
        self._kept.extend(rows)
        if self._resting:
            self._rouse()

    def progress(self, job: JobRef) -> Progress:
        """What takes the reports of a running attempt; the next batch writes the last one, if the job has a row."""
        return Progress(job, self._report if has_row(self._history, job) else _nobody)

    def _report(self, progress: Progress) -> None:
        reset_if_forked()
        self._reporting.append(progress)
        if self._resting:
            self._rouse()

    def later(self, statement: Callable[[Connection], object]) -> None:
        """Execute ``statement`` in the transaction of the next batch, when the database is back."""
        reset_if_forked()
        self._later.append(statement)
        if self._resting:
            self._rouse()

    def _rouse(self) -> None:
        """Wake the thread."""
        self._loop.wake()
        if self._loop.alive and not self._closed_at_exit:
            self._closed_at_exit = True
            atexit.register(_close_at_exit, weakref.ref(self))

    def _make_room(self) -> None:
        """Wait until some records are written; if the database is down, drop the oldest."""
        loop = self._loop
        with loop.changed:  # do not wake the thread, which is writing or cannot write
            if not loop.changed.wait_for(lambda: loop.away or self._has_room(), ROOM_TIMEOUT):
                loop.outage(f"too slow: {MAX_RECORDS:,} records have waited for {ROOM_TIMEOUT:g} s")
            while not self._has_room():
                event = self._events.popleft()
                self._note_end(event)
                self._count(self._open.follow([event]))
                self._dropped += 1
                self._uncounted += 1
                self._settled += 1

    def _note_end(self, event: JobEvent) -> None:
        """Keep what ``event`` says about a durable job, whatever becomes of its record."""
        if event.job.durable and (ended := ledger.ended(event)) is not None:
            self._ended.append(ended)

    def _has_room(self) -> bool:
        return len(self._events) <= MAX_RECORDS

    def _waiting(self) -> int:
        """Number of unwritten events; the caller must hold the lock."""
        return len(self._events) + (self._pending.events if self._pending else 0)

    def _count(self, records: list[Record]) -> None:
        """Add the attempts that ended to the totals."""
        for event, start, _ in records:
            outcome = getattr(event, "outcome", None)
            if outcome is not None:
                runtime, wait = getattr(event, "runtime", None), start.wait if start else None
                reason = getattr(event, "reason", None)
                self._tally.add(event.at, event.job.task, event.job.queue, outcome, runtime, wait, reason)

    def start(self) -> None:
        """Start the thread now; otherwise the first event starts it."""
        self._rouse()

    def flush(self, timeout: float = 5.0) -> bool:
        """Write all events until now; returns whether that took at most ``timeout`` seconds."""
        reset_if_forked()
        with self._loop.changed:
            target = self._settled + self._waiting()
            if self._settled >= target:
                return True
            self._loop.hurry()
            return self._loop.changed.wait_for(lambda: self._settled >= target, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write the remaining events and end the thread, within ``timeout`` seconds."""
        self._loop.stop(timeout, finish=True)
        with self._loop.changed:
            self._resting = True  # the next event starts the thread again
            lost, told = self._waiting(), self._lost
            self._lost = lost
        if lost not in (0, told):  # the end of the process closes the journal a second time
            logger.error("journal.lost", extra={"records": lost})

    def turn(self) -> float | None:
        """Write one batch."""
        batch = self._next_batch()
        if batch is None:
            return None
        earlier = self._earlier.of(batch.unrecorded)
        batches.write(self._store, replace(batch, records=[*earlier, *batch.records]) if earlier else batch)
        with self._loop.changed:
            if batch is not self._pending:
                return None  # a greenlet survives in a forked child, where the journal was reset
            self._pending = None
            self._settled += batch.events
            backlog = len(self._events) >= BATCH  # of a long outage: write it without a rest
        return 0.0 if backlog or self._loop.stopping else INTERVAL

    def failed(self) -> None:
        """The database does not take the batch, for a reason that we do not know."""
        logger.exception("journal.failed")
        self._loop.outage(None)

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("journal.paused", extra={"error": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.warning("journal.resumed", extra={"dropped": self._dropped, "waiting": len(self._events)})
        self._dropped = 0

    def _next_batch(self) -> Batch | None:
        """The batch that could not be written before, or a new one; None if there is nothing to write."""
        with self._loop.changed:
            self._resting = True  # set it first and then look, so that an event in between wakes us
            if not self._has_work():
                return None
            self._resting = False
            if self._pending is None:
                self._pending = self._take()
                self._loop.changed.notify_all()  # now there is room
            return self._pending

    def _has_work(self) -> bool:
        return self._pending is not None or bool(
            self._events
            or self._tally
            or self._published
            or self._kept
            or self._ended
            or self._reporting
            or self._later
            or self._uncounted
        )

    def _take(self) -> Batch:
        events = [self._events.popleft() for _ in range(min(BATCH, len(self._events)))]
        for event in events:
            if event.job.durable:
                self._note_end(event)
        records = self._open.follow(events)
        self._count(records)
        unrecorded = (
            [each for each in records if not self._is_recorded(each)] if self._earlier.expected else []
        )
        records = list(filter(self._is_recorded, records))
        rows, self._tally = self._tally.rows(self.worker), Tally()
        self._batches += 1
        published = [self._published.popleft() for _ in range(len(self._published))]
        kept = [self._kept.popleft() for _ in range(len(self._kept))]
        ended, self._ended = self._ended, []
        reports = [self._reporting.popleft().take() for _ in range(len(self._reporting))]
        later = [self._later.popleft() for _ in range(len(self._later))]
        lost, self._uncounted = self._uncounted, 0
        return Batch(
            self._id, self.worker, self._batches, len(events), records, rows, published, kept, ended, reports, later,
            lost, unrecorded,
        )  # fmt: skip


def _nobody(progress: Progress) -> None:
    """Takes reports that no row is for."""


def _close_at_exit(reference: weakref.ref[Journal]) -> None:
    journal = reference()
    if journal is not None:
        journal.close(EXIT_TIMEOUT)


__all__ = ["Journal"]
