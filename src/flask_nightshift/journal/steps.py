"""How many rows one transaction deletes, so that nobody waits long for SQLite's only write lock.

A row may have an index entry or a megabyte of text, and a disk may be slow, so the number follows from what the last
transactions took. Between two of them the lock is free for longer than a waiting writer sleeps between two tries
(``store/engine.py``), so that each writer gets its turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, literal_column

from ..store import Store

AIM = 0.02
"""Seconds for which a transaction should hold SQLite's lock."""
MOST_SECONDS = 0.06
"""Seconds after which it ends in any case: the rest until a tenth of a second is for the commit."""
REST = 0.025
"""Seconds between two transactions on SQLite."""
FIRST, LEAST, MOST = 50, 50, 1000
"""The number of rows of the first transaction, the least, with which even a busy machine keeps up, and the maximum."""
HEAVY, USUAL = 100, 5
"""The weight of what one statement changes on SQLite, after which it looks at the time; and the weight of a row."""
SECONDS = 30.0
"""Maximum seconds for one transaction, with its wait for the lock."""


def judged(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """``condition`` for rows that the rest of a statement finds by their keys: without this, SQLite may find them by an
    index for ``condition``, and look at all rows that it fits.
    """
    return case((condition, literal_column("1")), else_=literal_column("0")) == literal_column("1")


class Pace:
    """The size of transactions that change many rows. ``least``: rows that no load makes too many for one of them."""

    def __init__(self, least: int = LEAST) -> None:
        self.rows = FIRST
        self._least = least
        self._usual = USUAL if least > 1 else HEAVY

    @contextmanager
    def begin(self, store: Store) -> Iterator[Connection]:
        """A transaction of ``store`` for up to ``rows`` rows; after it, others get their turn."""
        with store.begin(timeout=SECONDS) as connection:
            alone = connection.dialect.name == "sqlite"
            begun = time.perf_counter()
            yield connection
        self.took(time.perf_counter() - begun)
        if alone:
            time.sleep(REST)

    def work(
        self,
        store: Store,
        keys: Sequence[Any],
        change: Callable[[Connection, Sequence[Any]], object],
        weights: Sequence[int] = (),
    ) -> None:
        """Call ``change`` for all ``keys``, a few at a time, in as many transactions as it takes.

        Each ends soon after ``AIM`` seconds of processor time, or ``MOST_SECONDS`` on a busy machine.
        The rows of a page may be a hundred times as heavy as those before them, so its size alone bounds nothing.
        ``weights`` are those of ``keys``, if their rows differ much.
        """
        portions = [keys] if store.engine.dialect.name != "sqlite" else self._portions(keys, weights)
        waiting = deque(portions)
        while waiting:
            with self.begin(store) as connection:
                until, cpu_until = time.perf_counter() + MOST_SECONDS, time.thread_time() + AIM
                while waiting:
                    change(connection, waiting.popleft())
                    if time.perf_counter() >= until or time.thread_time() >= cpu_until:
                        break

    def _portions(self, keys: Sequence[Any], weights: Sequence[int]) -> Iterator[list[Any]]:
        portion: list[Any] = []
        weight = 0
        for key, more in zip_longest(keys, weights, fillvalue=self._usual):
            if portion and weight + more > HEAVY:
                yield portion
                portion, weight = [], 0
            portion.append(key)
            weight += more
        if portion:
            yield portion

    def took(self, seconds: float) -> None:
        """The last transaction took so long: the next one may change up to twice as many rows, or half of them."""
        factor = min(2.0, max(0.5, AIM / max(seconds, 1e-6)))
        self.rows = max(self._least, min(MOST, int(self.rows * factor)))


__all__ = ["AIM", "FIRST", "LEAST", "MOST", "REST", "SECONDS", "Pace", "judged"]
