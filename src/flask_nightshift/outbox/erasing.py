"""Deletes rows whose messages are in the broker: in the history's database with the journal's next batch, elsewhere in
small batches of its own.

A row that cannot be deleted stays for the relay, and its second publish is recognised.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from ..background.loop import Backoff, Loop, Work
from ..lifetime.forks import reset_if_forked, when_forked
from ..store import Store, outbox_rows

INTERVAL = 0.5
"""Seconds between two batches."""
MOST = 100_000
"""Rows to delete that are kept in memory."""
BACKOFF = Backoff(first=1.0, most=5.0)
WRITE_SECONDS = 20.0

logger = logging.getLogger("flask_nightshift.outbox")


class Eraser(Work):
    """Deletes rows of ``store``, from a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = Loop(self, "nightshift-outbox-eraser", BACKOFF, lingers=False)
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: the parent deletes its rows."""
        self._rows: deque[tuple[str, bool]] = deque(maxlen=MOST)

    def __call__(self, rows: Sequence[str]) -> None:
        """Delete ``rows`` soon."""
        self._add(rows, kept=False)

    def keep(self, rows: Sequence[str]) -> None:
        """Note soon that ``rows``, of durable jobs, are published."""
        self._add(rows, kept=True)

    def _add(self, rows: Sequence[str], *, kept: bool) -> None:
        reset_if_forked()
        idle = not self._rows
        self._rows.extend((row, kept) for row in rows)
        if idle:
            self._loop.wake(INTERVAL / 5)

    def turn(self) -> float | None:
        """Delete what there is."""
        rows = list(self._rows)
        if not rows:
            return None
        with self._store.begin(timeout=WRITE_SECONDS) as connection:
            outbox_rows.erase(connection, [row for row, kept in rows if not kept])
            outbox_rows.published(connection, [row for row, kept in rows if kept])
        for _ in rows:
            self._rows.popleft()
        return INTERVAL if self._rows else None

    def failed(self) -> None:
        """Leave them to the relay."""
        self._rows.clear()
        logger.exception("outbox.not_erased")

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("outbox.paused", extra={"error": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.warning("outbox.resumed", extra={"waiting": len(self._rows)})

    def close(self, timeout: float = 5.0) -> None:
        """Delete the rest, and end the thread."""
        self._loop.stop(timeout, finish=True)


class Erasers:
    """Who deletes the rows of each store."""

    def __init__(
        self,
        stores: Sequence[Store],
        history: Store,
        forget: Callable[[Sequence[str]], object],
        keep: Callable[[Sequence[str]], object],
    ) -> None:
        self._own = [Eraser(store) for store in stores if store is not history]
        others = [store for store in stores if store is not history]
        self._by_store: Mapping[Store, Callable[[Sequence[str]], object]] = {
            history: forget,
            **dict(zip(others, self._own, strict=True)),
        }
        self._keep: Mapping[Store, Callable[[Sequence[str]], object]] = {
            history: keep,
            **{store: own.keep for store, own in zip(others, self._own, strict=True)},
        }

    def erase(self, store: Store, rows: Sequence[str]) -> None:
        """Delete ``rows`` of ``store`` soon."""
        self._by_store[store](rows)

    def keep(self, store: Store, rows: Sequence[str]) -> None:
        """Note soon that ``rows`` of ``store``, of durable jobs, are published."""
        self._keep[store](rows)

    def close(self) -> None:
        """Delete what waits."""
        for eraser in self._own:
            eraser.close()


__all__ = ["Eraser", "Erasers"]
