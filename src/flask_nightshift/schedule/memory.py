"""Write Beat's state to the database from a thread, so that no tick waits for a database (invariant 7).

The state is the time of Beat's last loop and of each entry's last run; only the latest values are kept. While the
database is down they wait here, and are written when it is back.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime

from ..background.loop import Backoff, Loop, Work
from ..errors import DatabaseUnavailable
from ..store import Store, heartbeats
from ..store.heartbeats import EntryState

logger = logging.getLogger("flask_nightshift.beat")

TRY_AGAIN_AFTER = Backoff(2.0, 2.0)
"""Between two attempts while the database is down."""
CLOSE_TIMEOUT = 3.0
"""Seconds that Beat waits at its end for the last values to be written."""
LAST_PAUSE = 0.2
"""Seconds between two attempts at the end."""


class BeatMemory(Work):
    """The memory of the Beat ``name``."""

    def __init__(self, store: Store, name: str) -> None:
        self.past: dict[str, EntryState] | None = None
        """The last state of each entry before this Beat started; None until the database has answered."""
        self._store = store
        self._name = name
        self._lock = threading.Lock()
        self._seen_at: datetime | None = None
        self._ran: dict[str, EntryState] = {}
        self._loop = Loop(self, "nightshift-beat-memory", TRY_AGAIN_AFTER)

    def recall(self) -> None:
        """Read ``past`` now; if the database is down, the thread keeps trying."""
        try:
            self._read()
        except DatabaseUnavailable as exc:
            self._loop.outage(exc)
        except Exception:  # noqa: BLE001 - logged there; a database error must not keep Beat from starting
            self.failed()

    def note(self, seen_at: datetime) -> None:
        """Record that Beat's loop ran at ``seen_at``."""
        with self._lock:
            self._seen_at = seen_at
        self._loop.wake()

    def remember(self, entry: str, state: EntryState) -> None:
        """Record the last run of ``entry``, from which a restarted Beat continues."""
        with self._lock:
            self._ran[entry] = state
        self._loop.wake()

    def close(self) -> None:
        """Write the remaining values and that this Beat stopped, within ``CLOSE_TIMEOUT``."""
        until = time.monotonic() + CLOSE_TIMEOUT
        self._loop.stop(CLOSE_TIMEOUT, finish=True)
        while self._seen_at and self._loop.away and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LAST_PAUSE))
            self._loop.start()
            self._loop.stop(left, finish=True)

    def turn(self) -> None:
        """Write the values that are not written yet."""
        self._read()
        with self._lock:
            seen_at, ran = self._seen_at, dict(self._ran)
        for entry, state in ran.items():
            heartbeats.save_schedule(self._store, entry, state)
        if seen_at is not None:
            tell = heartbeats.stop if self._loop.stopping else heartbeats.tick
            tell(self._store, self._name, seen_at)
        with self._lock:
            self._ran = {entry: state for entry, state in self._ran.items() if ran.get(entry) != state}

    def failed(self) -> None:
        """The next attempt may succeed."""
        logger.exception("beat.memory_failed")

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("beat.database_away", extra={"why": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.info("beat.database_back")

    def _read(self) -> None:
        if self.past is None:
            self.past = heartbeats.schedule_state(self._store)


__all__ = ["BeatMemory"]
