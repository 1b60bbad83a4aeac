"""The thread of a worker that tells the result backend how jobs ended.

The worker's main process decides what becomes of every job, so it never waits for a result backend that is away. It
hands over a call; the thread makes it, and repeats it for a while when it fails. The call stores the result and tells
the chord, the rest of the chain and the errbacks (invariant 12).
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from kombu.exceptions import EncodeError

from ..lifetime.fork_gate import gate
from ..lifetime.forks import when_forked

FIRST_PAUSE = 1.0
LAST_PAUSE = 30.0
"""Seconds between two tries: doubled from the first to the last."""
GIVE_UP_AFTER = 900.0
"""Seconds for which a call is repeated."""
MOST = 10_000
"""Calls that wait at most; beyond that the ones that wait longest for their next try are given up."""
CONTENT = (EncodeError, TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""Errors of what is to be told. To repeat the call is of no use."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A call that tells of the end of a job; it may be made more than once."""

    job_id: str
    task: str
    call: Callable[[], object]
    since: float
    tries: int = 0


class Announcer:
    """Makes calls in a thread of its own, which starts with the first of them."""

    def __init__(self) -> None:
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: the thread and what it has to tell are the parent's."""
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Announcement]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._busy = self._stopping = False
        self._first = True

    def tell(self, job_id: str, task: str, call: Callable[[], object]) -> None:
        """Have ``call()`` made soon, and again when it fails for another reason than its content."""
        self._put(Announcement(job_id, task, call, monotonic()), monotonic())

    def finish(self, timeout: float = 3.0) -> None:
        """The worker ends: make the calls that are due, for ``timeout`` seconds; the rest is lost, with a log line."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy and not self._due(), timeout)
            left, self._waiting = self._waiting, []
            self._changed.notify_all()
        for _, _, announcement in left:
            _give_up(announcement, "the worker ended")

    def _put(self, announcement: Announcement, due: float) -> None:
        dropped: Announcement | None = None
        with self._changed:
            if len(self._waiting) >= MOST:
                dropped = max(self._waiting)[2]
                self._waiting = [entry for entry in self._waiting if entry[2] is not dropped]
                heapq.heapify(self._waiting)
            heapq.heappush(self._waiting, (due, next(self._numbers), announcement))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nightshift-announcer", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        if dropped is not None:
            _give_up(dropped, f"{MOST:,} others wait")

    def _due(self) -> bool:
        return bool(self._waiting) and self._waiting[0][0] <= monotonic()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                while not self._due():
                    if self._stopping:
                        self._thread = None
                        return
                    self._changed.wait(self._waiting[0][0] - monotonic() if self._waiting else None)
                _, _, announcement = heapq.heappop(self._waiting)
                self._busy = True
            self._make(announcement)

    def _make(self, announcement: Announcement) -> None:
        # the first call may import the result backend: a child forked meanwhile would wait for its locks for ever
        undisturbed, self._first = gate.inside() if self._first else contextlib.nullcontext(), False
        try:
            with undisturbed:
                announcement.call()
        except CONTENT as exc:
            logger.exception("job.untold", extra=_about(announcement, f"{type(exc).__name__}: {exc}"))
        except Exception as exc:  # noqa: BLE001 - each result backend has errors of its own
            self._again(announcement, exc)

    def _again(self, announcement: Announcement, exc: Exception) -> None:
        why = f"{type(exc).__name__}: {exc}"
        if monotonic() - announcement.since > GIVE_UP_AFTER:
            _give_up(announcement, why)
            return
        if not announcement.tries:
            logger.warning("job.not_told_yet", extra=_about(announcement, why))
        pause = min(FIRST_PAUSE * 2.0**announcement.tries, LAST_PAUSE)
        again = Announcement(
            announcement.job_id,
            announcement.task,
            announcement.call,
            announcement.since,
            announcement.tries + 1,
        )
        self._put(again, monotonic() + pause)


def _give_up(announcement: Announcement, why: str) -> None:
    with contextlib.suppress(Exception):
        logger.error("job.untold", extra=_about(announcement, why))


def _about(announcement: Announcement, why: str) -> dict[str, str]:
    return {"job_id": announcement.job_id, "task": announcement.task, "why": why}


__all__ = ["Announcer"]
