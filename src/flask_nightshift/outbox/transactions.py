"""Follows transactions to their real end, and publishes what waits for them.

SQLAlchemy's ``after_commit`` of a session also fires for savepoints and for sessions that join an outer transaction.
``commit`` of an engine fires before the commit. So both are heard:

- The engine tells that a root transaction begins to commit or is rolled back, and that a savepoint is rolled back.
- A session that owns its transaction tells that the commit has succeeded, and then that its connection is free. That is
  when its jobs are published.
- Where no session tells that, ``Looking`` finds it out.

What this keeps holds no connection and no session alive.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Transaction
from sqlalchemy.orm import Session, SessionTransaction

from ..enqueue.composed import Composed
from ..lifetime.forks import when_forked
from ..options.publish import InvalidOption
from ..store import Store
from ..store.drivers import in_transaction
from .hearing import Hearing
from .looking import Looking
from .publishing import Publishing
from .waiting import ROLLED_BACK, Waiting, open_savepoints

logger = logging.getLogger("flask_nightshift.outbox")


class Follower:
    """Follows the transactions in which one app's jobs wait."""

    def __init__(self, publishing: Publishing, looking: Looking) -> None:
        self._publishing = publishing
        self._looking = looking
        self._engines: weakref.WeakSet[Engine] = (
            weakref.WeakSet()
        )  # also in a child: it inherits what listens
        self._lock = threading.Lock()
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: a transaction that was open at the fork is the parent's."""
        self._lock = threading.Lock()
        self._by_root: weakref.WeakKeyDictionary[Transaction, Waiting] = weakref.WeakKeyDictionary()
        self._by_session: weakref.WeakKeyDictionary[Session, list[Waiting]] = weakref.WeakKeyDictionary()

    def hold(
        self,
        connection: Connection,
        session: Session | None,
        store: Store | None,
        jobs: Sequence[tuple[Composed, str]],
    ) -> None:
        """Publish ``jobs``, given with the ids of their rows, when the transaction of ``connection`` has committed.

        ``session`` is the session through which the connection was reached, or None.
        """
        root = connection.get_transaction()
        if root is None:  # AUTOCOMMIT without a transaction, or an event handler of the caller's has ended it
            raise InvalidOption("session", connection, "no transaction is open on it")
        waiting = self._by_root.get(root)
        if waiting is None:
            self._listen(connection.engine)
            owned = session is not None and not isinstance(session.get_bind(), Connection)
            waiting = self._by_root[root] = Waiting(root, store, by_session=owned)
            waiting.in_event_loop = bool(connection.dialect.is_async)
            weakref.finalize(root, _dropped, waiting, self._publishing, os.getpid()).atexit = False
        if session is not None:
            self._listen_to(session, waiting)
        waiting.add(jobs, open_savepoints(connection))

    def _listen(self, engine: Engine) -> None:
        with self._lock:
            if engine in self._engines:
                return
            self._engines.add(engine)
        _engines.follow(engine, self)

    def _listen_to(self, session: Session, waiting: Waiting) -> None:
        known = self._by_session.get(session)
        if known is None:
            known = self._by_session[session] = []
            _sessions.follow(session, self)
        if waiting not in known:
            known.append(waiting)

    def _of(self, connection: Connection) -> Waiting | None:
        root = connection.get_transaction()
        return self._by_root.get(root) if root is not None else None

    def committing(self, connection: Connection, *_: Any) -> None:
        """A commit begins."""
        waiting = self._of(connection)
        if waiting is not None:
            waiting.committing = True
            if not waiting.by_session:
                self._looking.watch(waiting)

    def rolled_back(self, connection: Connection, *_: Any) -> None:
        """A root transaction is rolled back, or its connection is closed without a commit."""
        waiting = self._of(connection)
        if waiting is None or waiting.committing:
            return
        if waiting.store is None or connection.invalidated or in_transaction(connection):
            self._lost(waiting)
        else:  # by raw SQL, or as SQLite released a savepoint
            waiting.ended_before = True
            self._looking.watch(waiting)

    def rolled_back_twophase(self, connection: Connection, *_: Any) -> None:
        """A root transaction of two phases is rolled back."""
        waiting = self._of(connection)
        if waiting is not None and not waiting.committing:
            self._lost(waiting)

    def _lost(self, waiting: Waiting) -> None:
        self._publishing.tell_not_enqueued(waiting.take(), ROLLED_BACK)

    def savepoint_rolled_back(self, connection: Connection, name: str, *_: Any) -> None:
        """The savepoint ``name`` is rolled back."""
        waiting = self._of(connection)
        if waiting is not None:
            waiting.drop(name)

    def committed(self, session: Session) -> None:
        """A session has committed something: its own transaction, a savepoint, or nothing if it joined another."""
        for waiting in self._by_session.get(session, ()):
            if waiting.committing and waiting.ended:
                waiting.committed = True

    def ended(self, session: Session, transaction: SessionTransaction) -> None:
        """A session's transaction is over, and its connection is back in the pool."""
        if transaction.parent is not None:
            return
        known = self._by_session.get(session)
        if not known:
            return
        ended, known[:] = known[:], []
        for waiting in ended:
            if not waiting:
                continue
            if waiting.committed and not waiting.in_event_loop:
                self._publishing.publish(waiting.store, waiting.take())
            elif (
                waiting.committed or waiting.ended
            ):  # in an event loop; or whether the commit succeeded is unknown
                self._looking.watch(waiting)


# by lambdas, because a subclass may override the methods
_engines: Hearing[Follower] = Hearing(
    {
        "commit": lambda follower, *args: follower.committing(*args),
        "commit_twophase": lambda follower, *args: follower.committing(*args),
        "rollback": lambda follower, *args: follower.rolled_back(*args),
        "rollback_twophase": lambda follower, *args: follower.rolled_back_twophase(*args),
        "rollback_savepoint": lambda follower, *args: follower.savepoint_rolled_back(*args),
    }
)
_sessions: Hearing[Follower] = Hearing(
    {
        "after_commit": lambda follower, *args: follower.committed(*args),
        "after_transaction_end": lambda follower, *args: follower.ended(*args),
    }
)


def _dropped(waiting: Waiting, publishing: Publishing, process: int) -> None:
    """A transaction is garbage: if nobody has ended it, the pool rolls it back. A child only drops its parent's."""
    if not (waiting.committing or waiting.ended_before) and process == os.getpid():
        publishing.tell_not_enqueued(waiting.take(), "its connection was dropped without commit()")


__all__ = ["Follower"]
