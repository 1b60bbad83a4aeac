"""The block of ``jobs.once()``: it takes the marker of its key when it begins, and finishes or releases it at its end.

``ByItself`` commits the marker in transactions of its own; a crash between the work and its end leaves an unfinished
marker, which the same job takes over. ``InTransaction`` writes a finished marker in the caller's transaction, so that
the marker and what the caller writes are committed together, or not at all. Neither waits for another one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import AlreadyInProgress, DatabaseUnavailable
from ..store import Store
from ..store.unavailable import is_contention, lacks_table
from . import markers
from .deciding import Ending, Marker, Owner, Verdict, judge

_TRIES = 3

logger = logging.getLogger("flask_nightshift.once")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a block is about. ``ttl``: how long it may take; ``keep``: how long it counts as done.

    ``whole``: it is the whole body of a job.
    """

    key: str
    owner: Owner
    ttl: timedelta
    keep: timedelta
    history: Store
    clock: Callable[[], datetime]
    refusal: Callable[[AlreadyInProgress], BaseException]
    """What to raise if another one does the work."""
    whole: bool = False

    def taken(self, *, finished: bool) -> Marker:
        """The marker of this block."""
        now = self.clock()
        return Marker(
            *self.owner, now, now if finished else None, now + (self.keep if finished else self.ttl)
        )

    def verdict(self, found: Marker | None) -> Verdict:
        """What follows from the marker ``found``."""
        return judge(found, self.owner, self.clock(), self._ending, whole=self.whole)

    def _ending(self, owner: Owner) -> Ending:
        with contextlib.suppress(DatabaseUnavailable), self.history.read() as connection:
            return markers.ending(connection, owner)
        return Ending.UNKNOWN

    def held(self, who: str, marker: Marker | None = None) -> BaseException:
        """The error that another one does the work."""
        job_id = marker.job_id if marker else None
        return self.refusal(AlreadyInProgress(self.key, who, job_id, marker.taken_at if marker else None))

    def held_by(self, marker: Marker) -> BaseException:
        """The error that the owner of ``marker`` does the work."""
        who = f"the job {marker.job_id}" if marker.job_id else "a process outside of any job"
        return self.held(f"{who} since {marker.taken_at:%Y-%m-%d %H:%M:%S} UTC", marker)


class ByItself:
    """``with ByItself(terms) as first``: the marker has transactions of its own."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._mine: Marker | None = None
        self.done: Marker | None = None
        """Who has done the work, if it was done before."""
        self.left: Callable[[Connection], object] | None = None
        """What still has to be done after the block, because the database was away: the marker is not finished."""

    def __enter__(self) -> bool:
        terms = self._terms
        for _ in range(_TRIES):
            with terms.history.read() as connection:
                found = markers.read(connection, terms.key)
            verdict = terms.verdict(found)
            if verdict is Verdict.DONE:
                self.done = found
                return False
            if verdict is Verdict.HELD and found is not None:
                raise terms.held_by(found)
            if self._take(found):
                return True
        raise terms.held("several others, in turn")

    def _take(self, over: Marker | None) -> bool:
        terms, mine = self._terms, self._terms.taken(finished=False)
        with self._transaction() as connection:
            if not markers.try_lock(connection, terms.key):
                who = markers.holder(connection, terms.key)
            elif markers.take(connection, terms.key, mine, over):
                self._mine = mine
                return True
            else:
                return False
        raise terms.held(who)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine, self._mine = self._mine, None
        if mine is None:
            return
        if kind is None:
            self._finish(mine)
        else:
            self._release(mine)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._terms.history.begin() as connection:
                yield connection
        except DatabaseUnavailable as exc:
            if "locked" not in str(exc):
                raise
            raise DatabaseUnavailable(
                f"{exc}. If your own session has written to this file: commit it before the block of jobs.once() "
                "begins or ends, or give it the session"
            ) from exc

    def _finish(self, mine: Marker) -> None:
        terms, now = self._terms, self._terms.clock()

        def finish(connection: Connection) -> None:
            if not markers.finish(connection, terms.key, mine, now, now + terms.keep):
                logger.warning("once.overtaken", extra={"key": terms.key, "since": mine.taken_at.isoformat()})

        self.left = finish
        with self._transaction() as connection:
            finish(connection)
        self.left = None

    def _release(self, mine: Marker) -> None:
        try:
            with self._terms.history.begin() as connection:
                markers.release(connection, self._terms.key, mine)
        except (
            DatabaseUnavailable
        ) as exc:  # the same job enters again, others when it is settled or the time is over
            logger.warning("once.not_released", extra={"key": self._terms.key, "error": str(exc)})


class InTransaction:
    """``with InTransaction(terms, connection) as first``: the marker is in the transaction of ``connection``."""

    def __init__(self, terms: Terms, connection: Connection) -> None:
        self._terms = terms
        self._connection = connection
        self._mine: Marker | None = None

    def __enter__(self) -> bool:
        try:
            return self._enter()
        except DBAPIError as exc:
            if is_contention(exc):
                raise self._terms.held(f"another transaction ({exc.orig})") from exc
            if lacks_table(exc):
                url = self._connection.engine.url.render_as_string(hide_password=True)
                raise DatabaseUnavailable(
                    f"{url} has no table of markers: run 'flask jobs migrate', which makes our tables in the history "
                    "database and in that of SQLALCHEMY_DATABASE_URI, and give a session of one of them"
                ) from exc
            raise

    def _enter(self) -> bool:
        terms, connection = self._terms, self._connection
        if not markers.try_lock(connection, terms.key):
            raise terms.held(markers.holder(connection, terms.key))
        found = markers.read(connection, terms.key)
        verdict = terms.verdict(found)
        if verdict is Verdict.HELD and found is not None:
            raise terms.held_by(found)
        if verdict is Verdict.DONE:
            return False
        mine = terms.taken(finished=True)
        with markers.impatient(connection):
            taken = markers.take(connection, terms.key, mine, found)
        if not taken:
            raise terms.held("another transaction")
        self._mine, self._root = mine, connection.get_transaction()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine, self._mine = self._mine, None
        if mine is None or kind is None or self._root is None or not self._root.is_active:
            return  # after a commit, the work is done; after a rollback, the marker is gone too
        with contextlib.suppress(SQLAlchemyError):  # a failed transaction can only be rolled back
            markers.release(self._connection, self._terms.key, mine)


__all__ = ["ByItself", "InTransaction", "Terms"]
