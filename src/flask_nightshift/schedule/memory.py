"""Keeps Beat and the database in step from a thread, so that no tick waits for a database (invariant 7).

It writes that this Beat is alive and what it did, and reads what other Beats did and what operators ordered. While the
database is away, what is to be written waits here, and the last known orders hold.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime

from ..background.loop import Backoff, Loop, Work
from ..errors import DatabaseUnavailable
from ..store import Store, heartbeats, schedules
from ..store.schedules import Adopted, Begin, Progress, Row
from ..store.types import key_of
from .clock import ServerClock

logger = logging.getLogger("flask_nightshift.beat")

TRY_AGAIN_AFTER = Backoff(2.0, 2.0)
"""Between two attempts while the database is down."""
INTERVAL = 1.0
"""Seconds between two turns: how long an operator's order takes at the most."""
PULSE_SECONDS = 2.5
"""Seconds between two heartbeats, and between two looks at the server's clock."""
CLOSE_TIMEOUT = 3.0
"""Seconds that Beat waits at its end for the last values to be written."""
LAST_PAUSE = 0.2
"""Seconds between two attempts at the end."""


class BeatMemory(Work):
    """The memory of the Beat ``name``."""

    def __init__(self, store: Store, name: str, clock: ServerClock) -> None:
        self.rows: Mapping[str, Row] = {}
        """The entries as they were in the database a moment ago, by the keys of their names."""
        self._store = store
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_at: datetime | None = None
        self._told_at = float("-inf")
        self._begins: dict[str, Begin] = {}
        self._adopted: dict[str, Adopted] = {}
        self._done: dict[str, Progress] = {}
        self._loop = Loop(self, "nightshift-beat-memory", TRY_AGAIN_AFTER)

    # what Beat tells
    def serve(self, entries: Mapping[str, Begin]) -> None:
        """Beat begins to serve ``entries``: ``adopted`` has their rows as soon as the database has answered."""
        with self._lock:
            self._begins |= entries

    def recall(self) -> None:
        """Read now; if the database is down, the thread keeps trying."""
        try:
            self._adopt()
            self.rows = schedules.read(self._store)
        except DatabaseUnavailable as exc:
            self._loop.outage(exc)
        except Exception:  # noqa: BLE001 - logged there; a database error must not keep Beat from starting
            self.failed()

    def note(self, seen_at: datetime) -> None:
        """Record that Beat's loop ran at ``seen_at``."""
        with self._lock:
            self._seen_at = seen_at
        self._loop.start()

    def did(self, entry: str, progress: Progress) -> None:
        """Record what Beat did for ``entry``, from which any Beat continues."""
        with self._lock:
            before = self._done.get(entry)
            self._done[entry] = before.then(progress) if before else progress

    # what Beat asks
    def adopted(self, entry: str) -> Adopted | None:
        """The row of an entry that Beat serves, once."""
        return self._adopted.pop(entry, None) if self._adopted else None

    def row(self, entry: str) -> Row | None:
        """The row of an entry as it was a moment ago."""
        return self.rows.get(key_of(entry))

    def close(self) -> None:
        """Write the remaining values and that this Beat stopped, within ``CLOSE_TIMEOUT``."""
        until = time.monotonic() + CLOSE_TIMEOUT
        self._loop.stop(CLOSE_TIMEOUT, finish=True)
        while self._seen_at and self._loop.away and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, LAST_PAUSE))
            self._loop.start()
            self._loop.stop(left, finish=True)

    # the thread
    def turn(self) -> float:
        """Write what is not written yet, and read."""
        is_time = time.monotonic() - self._told_at >= PULSE_SECONDS
        if is_time and not self._loop.stopping:
            self._clock.look()
        self._adopt()
        self._write()
        self.rows = schedules.read(self._store)
        if self._seen_at is not None and (is_time or self._loop.stopping):
            tell = heartbeats.stop if self._loop.stopping else heartbeats.tick
            tell(self._store, self._name, self._seen_at)
            self._told_at = time.monotonic()
        return INTERVAL

    def failed(self) -> None:
        """The next attempt may succeed."""
        logger.exception("beat.memory_failed")

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("beat.database_away", extra={"why": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.info("beat.database_back")

    def _write(self) -> None:
        with self._lock:
            done = self._done
            self._done = {}
        if not done:
            return
        try:
            schedules.advance(self._store, done, self._clock.now())
        except BaseException:
            with self._lock:
                for name, progress in self._done.items():
                    done[name] = done[name].then(progress) if name in done else progress
                self._done = done
            raise

    def _adopt(self) -> None:
        with self._lock:
            begins = dict(self._begins)
        if not begins:
            return
        found = schedules.adopt(self._store, begins, self._clock.now())
        with self._lock:
            self._adopted |= found
            self._begins = {
                name: begin for name, begin in self._begins.items() if begin is not begins.get(name)
            }


__all__ = ["BeatMemory"]
