"""The jobs that wait for the end of one transaction, and what is known of that end.

A root transaction is the outermost one of a connection: only its commit makes rows visible to others. A session may
merely join it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Transaction

from ..enqueue.composed import Composed
from ..store import Store

ROLLED_BACK = "it was rolled back, or closed without commit()"
"""Why jobs are not enqueued: the usual reason."""


class Held(NamedTuple):
    """A job in the outbox.

    ``savepoints`` were open when its row was written; if one of them is rolled back, the row is gone.
    """

    job: Composed
    row_id: str
    savepoints: frozenset[str]


class Waiting:
    """The jobs of one app that wait for the root transaction ``root``.

    ``store`` has their rows; None for a SQLite database in memory, where there are no rows. ``by_session``: a session
    owns the transaction and will tell that it has committed.
    """

    def __init__(self, root: Transaction, store: Store | None, *, by_session: bool) -> None:
        self._root = weakref.ref(root)
        self._lock = threading.Lock()
        self._held: list[Held] = []
        self.store = store
        self.by_session = by_session
        self.in_event_loop = False
        """Whether the commit ends in an event loop, which must not wait for a broker."""
        self.committing = False
        """Whether a commit has begun."""
        self.ended_before = False
        """Whether the database had ended it before its rollback."""
        self.committed = False
        """Whether the commit is known to have succeeded."""

    def add(self, jobs: Sequence[tuple[Composed, str]], savepoints: frozenset[str]) -> None:
        """Hold jobs with the ids of their rows."""
        with self._lock:
            self._held += [Held(job, row_id, savepoints) for job, row_id in jobs]

    def take(self) -> list[Held]:
        """All jobs, which are then whoever's called first."""
        with self._lock:
            taken, self._held = self._held, []
        return taken

    def give_back(self, jobs: Sequence[Held]) -> None:
        """Hold jobs again that were taken."""
        with self._lock:
            self._held = [*jobs, *self._held]

    def drop(self, savepoint: str) -> list[Held]:
        """Forget the jobs of a savepoint that is rolled back; returns them."""
        with self._lock:
            gone = [held for held in self._held if savepoint in held.savepoints]
            self._held = [held for held in self._held if savepoint not in held.savepoints]
        return gone

    @property
    def held(self) -> tuple[Held, ...]:
        """The jobs."""
        with self._lock:
            return tuple(self._held)

    def is_of(self, root: Transaction) -> bool:
        """Whether the jobs wait for ``root``."""
        return self._root() is root

    @property
    def ended(self) -> bool:
        """Whether the transaction has ended, or has at least tried to commit."""
        root = self._root()
        return root is None or not root.is_active

    @property
    def failed(self) -> bool:
        """Whether the commit failed, while the connection still waits for the rollback."""
        root = self._root()
        return root is not None and not root.is_active and root.connection.get_transaction() is root

    def __bool__(self) -> bool:
        return bool(self._held)


def open_savepoints(connection: Connection) -> frozenset[str]:
    """The names of the savepoints that are open on ``connection``."""
    names = set()
    nested = connection.get_nested_transaction()
    while nested is not None:
        names.add(nested._savepoint)  # noqa: SLF001 - the name that its rollback event gives
        nested = nested._previous_nested  # noqa: SLF001
    return frozenset(names)


__all__ = ["ROLLED_BACK", "Held", "Waiting", "open_savepoints"]
