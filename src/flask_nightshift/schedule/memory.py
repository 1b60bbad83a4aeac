"""Write Beat's state to the database from a thread, so that no tick waits for a database (invariant 7).

The state is the time of Beat's last loop and of each entry's last run; only the latest values are kept. While the
database is down they wait here, and are written when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from ..errors import DatabaseUnavailable
from ..store import Store, heartbeats
from ..store.heartbeats import EntryState

logger = logging.getLogger("flask_nightshift.beat")

TRY_AGAIN_AFTER = 2.0
"""Seconds between two attempts while the database is down."""
CLOSE_TIMEOUT = 3.0
"""Seconds that Beat waits at its end for the last values to be written."""


class BeatMemory:
    """The memory of the Beat ``name``."""

    def __init__(self, store: Store, name: str) -> None:
        self.past: dict[str, EntryState] | None = None
        """The last state of each entry before this Beat started; None until the database has answered."""
        self._store = store
        self._name = name
        self._lock = threading.Lock()
        self._seen_at: datetime | None = None
        self._ran: dict[str, EntryState] = {}
        self._news = threading.Event()
        self._closing = threading.Event()
        self._away = False
        self._thread: threading.Thread | None = None

    def recall(self) -> None:
        """Read ``past`` now; if the database is down, the thread keeps trying."""
        self._try(self._read)

    def note(self, seen_at: datetime) -> None:
        """Record that Beat's loop ran at ``seen_at``."""
        with self._lock:
            self._seen_at = seen_at
        self._rouse()

    def remember(self, entry: str, state: EntryState) -> None:
        """Record the last run of ``entry``, from which a restarted Beat continues."""
        with self._lock:
            self._ran[entry] = state
        self._rouse()

    def close(self) -> None:
        """Write the remaining values and that this Beat stopped, within ``CLOSE_TIMEOUT``."""
        self._closing.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT)

    def _rouse(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="nightshift-beat-memory", daemon=True)
            self._thread.start()
        self._news.set()

    def _work(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if not self._try(self._write):
                self._closing.wait(TRY_AGAIN_AFTER)
                self._news.set()
            elif self._closing.is_set() and not self._news.is_set():
                return

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except DatabaseUnavailable as exc:
            if not self._away:
                logger.warning("beat.database_away", extra={"why": str(exc)})
        except Exception:  # the thread must survive
            logger.exception("beat.memory_failed")
        else:
            if self._away:
                logger.info("beat.database_back")
            self._away = False
            return True
        self._away = True
        return False

    def _read(self) -> None:
        if self.past is None:
            self.past = heartbeats.schedule_state(self._store)

    def _write(self) -> None:
        self._read()
        with self._lock:
            seen_at, ran = self._seen_at, dict(self._ran)
        for entry, state in ran.items():
            heartbeats.save_schedule(self._store, entry, state)
        if seen_at is not None:
            tell = heartbeats.stop if self._closing.is_set() else heartbeats.tick
            tell(self._store, self._name, seen_at)
        with self._lock:
            self._ran = {entry: state for entry, state in self._ran.items() if ran.get(entry) != state}


__all__ = ["BeatMemory"]
