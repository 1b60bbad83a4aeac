"""Notices that the broker has lost all its data: a Redis that was flushed, or restarted without what it had.

It shows a wipe. A failover to a replica that lacks the last jobs keeps the value, and is not noticed.
"""

from __future__ import annotations

import logging

from ..background.loop import Backoff, Loop, Work
from ..domain.job import utcnow
from ..services import Services
from ..store import epochs

LOOK_EVERY = 15.0
"""Seconds between two looks."""

logger = logging.getLogger("flask_nightshift.worker.epoch")


class EpochWatch(Work):
    """The thread of a worker that compares the broker's epoch with the one in the database."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: str | None = None
        self._loop = Loop(self, "nightshift-epoch", Backoff(LOOK_EVERY, 60.0))

    def start(self) -> None:
        """Start the thread, unless it runs."""
        self._loop.start()

    def stop(self) -> None:
        """End the thread."""
        self._loop.stop()

    def turn(self) -> float | None:
        """Look once."""
        broker = self._services.broker
        epoch = broker.epoch()
        if epoch is None:
            return None  # this broker cannot tell
        if epoch != self._seen:
            since = epochs.note(self._services.store, broker.url, epoch, utcnow())
            self._seen = epoch
            if since is not None:
                text = "the broker has lost its data: all jobs that waited there are gone"
                extra = {"broker": broker.url, "known_since": since.isoformat(), "why": text}
                logger.critical("broker.wiped", extra=extra)
        return LOOK_EVERY

    def failed(self) -> None:
        """The next look may succeed."""
        logger.exception("broker.epoch_unknown")


__all__ = ["EpochWatch"]
