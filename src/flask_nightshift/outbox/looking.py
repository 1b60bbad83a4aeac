"""Finds out from outside whether a transaction has committed: its rows are visible on another connection.

SQLAlchemy tells of the commit of a Core connection only before it happens. An asynchronous session tells of it in the
event loop, which must not wait for a broker. So a thread looks for the rows, and publishes them.
"""

from __future__ import annotations

import logging
from collections import deque
from time import monotonic
from typing import NamedTuple

from ..background.loop import Backoff, Loop, Work
from ..errors import DatabaseUnavailable
from ..lifetime.forks import reset_if_forked, when_forked
from ..store import outbox_rows
from .publishing import Publishing
from .waiting import ROLLED_BACK, Held, Waiting

SHORTEST, LONGEST = 0.001, 0.25
"""Seconds between two looks; the longer it takes, the rarer."""
COMMIT_SECONDS = 60.0
"""How long a commit may take; then the relay has to find the rows."""
ABSENT_SECONDS = 3.0
"""How long rows are looked for after their transaction has ended; less than a relay needs to find and delete them."""
BACKOFF = Backoff(first=0.5, most=5.0)
COMMIT_FAILED = "its commit failed"
"""Why jobs are not enqueued."""

logger = logging.getLogger("flask_nightshift.outbox")


class _Watched(NamedTuple):
    waiting: Waiting
    since: float


class Looking(Work):
    """The thread that looks for the rows of one app's jobs."""

    def __init__(self, publishing: Publishing) -> None:
        self._publishing = publishing
        self._loop = Loop(self, "nightshift-outbox-looking", BACKOFF)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: the parent's transactions are the parent's."""
        self._watched: deque[_Watched] = deque()

    def watch(self, waiting: Waiting) -> None:
        """Publish the jobs of ``waiting`` when its transaction has committed."""
        reset_if_forked()
        self._add(waiting)
        self._loop.wake()

    def _add(self, waiting: Waiting) -> None:
        self._watched.append(_Watched(waiting, monotonic()))

    def turn(self) -> float | None:
        """Look at each transaction once."""
        now, pause = monotonic(), LONGEST
        for _ in range(len(self._watched)):
            watched = self._watched.popleft()
            age = now - watched.since
            if not self._is_settled(watched.waiting, age):
                self._watched.append(watched)
                pause = min(pause, max(SHORTEST, age / 4))
        return pause if self._watched else None

    def _is_settled(self, waiting: Waiting, age: float) -> bool:
        """Publish the jobs if their rows are committed; True if there is nothing to wait for any more."""
        if not waiting:
            return True
        if not (waiting.committed or waiting.ended):
            return age > COMMIT_SECONDS
        if waiting.committed or waiting.store is None:
            return self._is_known(waiting)
        jobs = waiting.take()
        try:
            with waiting.store.read() as connection:
                found = outbox_rows.present(connection, [held.row_id for held in jobs])
        except DatabaseUnavailable as exc:
            logger.warning("outbox.left_to_relay", extra={"jobs": len(jobs), "error": str(exc)})
            return True
        if not found and waiting.committing and age < ABSENT_SECONDS:
            waiting.give_back(jobs)
            return False
        self._publish(waiting, [held for held in jobs if held.row_id in found])
        lost = [held for held in jobs if held.row_id not in found]
        self._publishing.tell_not_enqueued(lost, COMMIT_FAILED if waiting.committing else ROLLED_BACK)
        return True

    def _is_known(self, waiting: Waiting) -> bool:
        jobs = waiting.take()
        if waiting.failed:
            self._publishing.tell_not_enqueued(jobs, COMMIT_FAILED)
        else:
            self._publish(waiting, jobs)
        return True

    def _publish(self, waiting: Waiting, jobs: list[Held]) -> None:
        if jobs:
            self._publishing.publish(waiting.store, jobs)

    def failed(self) -> None:
        """Leave what cannot be looked for to the relay."""
        logger.exception("outbox.looking_failed")

    def close(self, timeout: float = 5.0) -> None:
        """Look once more, and end the thread."""
        self._loop.stop(timeout, finish=True)


__all__ = ["Looking"]
