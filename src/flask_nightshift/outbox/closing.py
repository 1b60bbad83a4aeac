"""Closes the rows of durable jobs that have ended, in databases that have no history: the journal does it there.

An outcome stays in memory until it is written, so that a database that is away loses none.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable

from ..background.loop import Backoff, Loop, Work
from ..domain.events import JobEvent
from ..lifetime.forks import reset_if_forked, when_forked
from ..store import Store, ledger

INTERVAL = 0.5
"""Seconds between two batches."""
MOST = 2_000
"""Rows in one batch."""
BACKOFF = Backoff(first=1.0, most=5.0)
WRITE_SECONDS = 20.0

logger = logging.getLogger("flask_nightshift.outbox")


class Closer(Work):
    """Closes rows of ``store``, from a thread; subscribe it to ``Events``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = Loop(self, "nightshift-outbox-closer", BACKOFF, lingers=False)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: the parent closes its rows."""
        self._ended: deque[ledger.Ended] = deque()

    def __call__(self, event: JobEvent) -> None:
        """Close the row of the job that ended by ``event``, if it is durable."""
        if event.job.durable and (outcome := ledger.ended(event)) is not None:
            self.put([outcome])

    def put(self, outcomes: Iterable[ledger.Ended]) -> None:
        """Close rows soon."""
        reset_if_forked()
        idle = not self._ended
        self._ended.extend(outcomes)
        if idle and self._ended:
            self._loop.wake(INTERVAL / 5)

    def turn(self) -> float | None:
        """Close what there is."""
        some = [self._ended[at] for at in range(min(MOST, len(self._ended)))]
        if not some:
            return None
        with self._store.begin(timeout=WRITE_SECONDS) as connection:
            ledger.close(connection, some)
        for _ in some:
            self._ended.popleft()
        return INTERVAL if self._ended else None

    def failed(self) -> None:
        """Try again: an outcome is never dropped."""
        logger.exception("outbox.not_closed")
        self._loop.outage(None)

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("outbox.paused", extra={"error": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.warning("outbox.resumed", extra={"waiting": len(self._ended)})

    def close(self, timeout: float = 5.0) -> None:
        """Close the rest, and end the thread."""
        self._loop.stop(timeout, finish=True)


__all__ = ["Closer"]
