"""What Beat tells the database, written by a thread of its own: no tick waits for a database (invariant 7).

Only the latest is kept: when Beat's loop last turned, and when each entry last ran. While the database is away it
waits here, and is written when it is back.
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
"""Seconds until a database that was away is asked again."""
CLOSE_TIMEOUT = 3.0
"""Seconds that the end of Beat waits for the last of it to be written."""


class BeatMemory:
    """The memory of the Beat ``name``."""

    def __init__(self, store: Store, name: str) -> None:
        self.past: dict[str, EntryState] | None = None
        """What was known of each entry before this Beat began; None while the database could not be asked."""
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
        """Ask now for ``past``; when the database is away, the thread goes on asking."""
        self._try(self._read)

    def note(self, seen_at: datetime) -> None:
        """Beat's loop turns at ``seen_at``."""
        with self._lock:
            self._seen_at = seen_at
        self._rouse()

    def remember(self, entry: str, state: EntryState) -> None:
        """What ``entry`` is restarted from."""
        with self._lock:
            self._ran[entry] = state
        self._rouse()

    def close(self) -> None:
        """Write what is left and that this Beat stopped, for ``CLOSE_TIMEOUT`` at most."""
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
        except Exception:  # the thread must live on
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
