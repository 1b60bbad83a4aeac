"""Jobs that wait for a transaction, in a test.

A test often runs in a transaction that it rolls back: its sessions join that one, so none of them commits anything.
Here ``commit()`` of such a session counts as the commit. No row is written, because the broker ends with the test, too.
What is not enqueued is noted, so that the test fails unless it expects that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session, SessionTransaction

from ..enqueue.composed import Composed
from ..outbox.databases import Databases
from ..outbox.looking import Looking
from ..outbox.outbox import Outbox
from ..outbox.publishing import Publishing
from ..outbox.transactions import Follower
from ..outbox.waiting import ROLLED_BACK, Held, Waiting, open_savepoints
from ..services import Services

Lost = Callable[[Sequence[Held], str], object]
"""Is told of jobs that are not enqueued, and why."""


class NotingPublishing(Publishing):
    """Notes what is not enqueued."""

    lost: Lost = staticmethod(lambda jobs, why: None)  # noqa: ARG005

    def tell_not_enqueued(self, jobs: Sequence[Held], why: str, **fields: Any) -> None:
        """Log it, and note it."""
        super().tell_not_enqueued(jobs, why, **fields)
        if jobs:
            self.lost(jobs, why)


class NoRows(Databases):
    """Every database is allowed, and none gets rows."""

    def of(self, connection: Connection) -> None:
        """No store."""


class StillLooking(Looking):
    """Looks at transactions when it is told to."""

    def watch(self, waiting: Waiting) -> None:
        """Look at it with the next ``settle()``."""
        self._add(waiting)

    def settle(self) -> None:
        """Publish what has committed."""
        self.turn()

    def close(self, timeout: float = 5.0) -> None:  # noqa: ARG002 - as the outbox's
        """Publish what has committed."""
        self.settle()


class JoinedFollower(Follower):
    """Follows sessions, too, that join a transaction which they do not end."""

    def __init__(self, publishing: Publishing, looking: Looking) -> None:
        super().__init__(publishing, looking)
        self._joined: weakref.WeakKeyDictionary[Session, Waiting] = weakref.WeakKeyDictionary()

    def hold(
        self,
        connection: Connection,
        session: Session | None,
        store: Any,
        jobs: Sequence[tuple[Composed, str]],
    ) -> None:
        """Publish ``jobs`` when the session commits, if its transaction is part of another one's."""
        root = connection.get_transaction()
        if session is None or root is None or not isinstance(session.get_bind(), Connection):
            super().hold(connection, session, store, jobs)
            return
        waiting = self._joined.get(session)
        if waiting is None:
            self._listen(connection.engine)
            waiting = self._joined[session] = Waiting(root, store, by_session=True)
        self._listen_to(session, waiting)
        waiting.add(jobs, open_savepoints(connection))

    def savepoint_rolled_back(self, connection: Connection, name: str, *args: Any) -> None:
        """The savepoint ``name`` is rolled back: one of the test's code, or the one in which a session joined."""
        super().savepoint_rolled_back(connection, name, *args)
        for session, waiting in list(self._joined.items()):
            dropped = waiting.drop(name)
            if session.get_nested_transaction() is None:
                self._publishing.tell_not_enqueued(dropped, ROLLED_BACK)

    def committed(self, session: Session) -> None:
        """A session has committed its transaction, or a savepoint in it."""
        super().committed(session)
        if session in self._joined and session.get_nested_transaction() is None:
            self._joined[session].committed = True

    def ended(self, session: Session, transaction: SessionTransaction) -> None:
        """A session's transaction is over; that of the test, which it joined, may go on."""
        waiting = self._joined.pop(session, None) if transaction.parent is None else None
        if waiting is None:
            super().ended(session, transaction)
            return
        self._by_session.pop(session, None)
        if waiting.committed:
            self._publishing.publish(waiting.store, waiting.take())
        else:
            self._publishing.tell_not_enqueued(waiting.take(), ROLLED_BACK)

    def rolled_back(self, connection: Connection, *args: Any) -> None:
        """A root transaction is rolled back, maybe that of the test while a session is open in it."""
        super().rolled_back(connection, *args)
        root = connection.get_transaction()
        for waiting in list(self._joined.values()):
            if root is not None and waiting.is_of(root):
                self._publishing.tell_not_enqueued(waiting.take(), ROLLED_BACK)

    def waiting(self) -> list[Held]:
        """The jobs that wait for a commit."""
        every = [*self._by_root.values(), *self._joined.values()]
        return [held for waiting in every for held in waiting.held]


class StillOutbox(Outbox):
    """The outbox of an app in a test, without threads; ``lost`` is told of what is not enqueued, and why."""

    databases_kind = NoRows
    publishing_kind = NotingPublishing
    looking_kind = StillLooking
    follower_kind = JoinedFollower
    _publishing: NotingPublishing
    _looking: StillLooking
    _follower: JoinedFollower

    @classmethod
    def of(cls, services: Services, lost: Lost) -> StillOutbox:
        """The outbox of ``services``."""
        celery, journal = weakref.ref(services.celery), services.journal

        def sender() -> Any:
            found: Any = celery()
            return found.publisher.sender

        made = cls(services.app, services.outboxes, sender, services.store, journal.forget, journal.keep)
        made.tell(lost)
        return made

    def tell(self, lost: Lost) -> None:
        """Tell ``lost`` of what is not enqueued."""
        self._publishing.lost = lost

    def settle(self) -> None:
        """Publish what has committed."""
        self._looking.settle()

    def waiting(self) -> list[Held]:
        """The jobs that wait for a commit."""
        return self._follower.waiting()


__all__ = ["StillOutbox"]
