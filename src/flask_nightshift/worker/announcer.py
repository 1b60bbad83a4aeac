"""The thread of a worker that tells the result backend how jobs ended.

The worker's main process decides what becomes of every job, so it never waits for a result backend that is down. It
hands over a call; the thread makes it, and repeats it for a while if it fails. The call stores the result and tells
the chord, the rest of the chain and the errbacks (invariant 12).
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from time import monotonic

from kombu.exceptions import EncodeError

from ..background.loop import Backoff, Loop, Work
from ..lifetime.fork_gate import gate
from ..lifetime.forks import when_forked

BACKOFF = Backoff(first=1.0, most=30.0)
"""Between two tries of one call."""
GIVE_UP_AFTER = 900.0
"""Seconds for which a call is repeated."""
MOST = 10_000
"""Maximum number of calls that wait; beyond it, the call whose next try is the latest is given up."""
CONTENT = (EncodeError, TypeError, ValueError, LookupError, AttributeError, RecursionError)
"""Errors of the content, which repeating the call does not change."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Announcement:
    """A call that tells of the end of a job; it may be made more than once."""

    job_id: str
    task: str
    call: Callable[[], object]
    since: float
    tries: int = 0


class Announcer(Work):
    """Makes calls in a thread of its own, which starts with the first of them."""

    def __init__(self) -> None:
        self._loop = Loop(self, "nightshift-announcer", BACKOFF)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: forget the calls, because the parent makes them."""
        self._waiting: list[tuple[float, int, Announcement]] = []
        self._numbers = itertools.count()
        self._first = True

    def tell(self, job_id: str, task: str, call: Callable[[], object]) -> None:
        """Have ``call()`` made soon, and again if it fails for another reason than its content."""
        self._put(Announcement(job_id, task, call, monotonic()), monotonic())

    def finish(self, timeout: float = 3.0) -> None:
        """The worker ends: make the calls that are due, within ``timeout`` seconds; log the others as lost."""
        self._loop.stop(timeout, finish=True)
        with self._loop.changed:
            left, self._waiting = self._waiting, []
        for _, _, announcement in left:
            _give_up(announcement, "the worker ended")

    def _put(self, announcement: Announcement, due: float) -> None:
        dropped: Announcement | None = None
        with self._loop.changed:
            if len(self._waiting) >= MOST:
                dropped = max(self._waiting)[2]
                self._waiting = [entry for entry in self._waiting if entry[2] is not dropped]
                heapq.heapify(self._waiting)
            heapq.heappush(self._waiting, (due, next(self._numbers), announcement))
        self._loop.wake()
        if dropped is not None:
            _give_up(dropped, f"{MOST:,} others wait")

    def turn(self) -> float | None:
        """Make the next call that is due."""
        with self._loop.changed:
            due = bool(self._waiting) and self._waiting[0][0] <= monotonic()
            announcement = heapq.heappop(self._waiting)[2] if due else None
        if announcement is not None:
            self._make(announcement)
        with self._loop.changed:
            return max(0.0, self._waiting[0][0] - monotonic()) if self._waiting else None

    def failed(self) -> None:
        """A call's errors do not arrive here, so this one is ours."""
        logger.exception("results.announcer_failed")

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
        again = replace(announcement, tries=announcement.tries + 1)
        self._put(again, monotonic() + BACKOFF.seconds(again.tries))


def _give_up(announcement: Announcement, why: str) -> None:
    with contextlib.suppress(Exception):
        logger.error("job.untold", extra=_about(announcement, why))


def _about(announcement: Announcement, why: str) -> dict[str, str]:
    return {"job_id": announcement.job_id, "task": announcement.task, "why": why}


__all__ = ["Announcer"]
