"""``Outbox``: enqueues jobs with a transaction of the caller's."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from flask import Flask, has_app_context
from msgspec.structs import replace
from sqlalchemy import Connection

from ..enqueue.composed import Composed, collected
from ..enqueue.ids import new_id
from ..enqueue.sending import Sender
from ..lifetime.forks import reset_if_forked
from ..message.headers import DURABLE, HISTORY
from ..message.unique import Holders
from ..options.publish import InvalidOption, unencodable_header
from ..store import Store
from . import sessions, writing
from .databases import Databases
from .erasing import Erasers
from .looking import Looking
from .publishing import Publishing
from .rows import Row, row_of
from .transactions import Follower
from .waiting import Held

T = TypeVar("T")
WRITE_SECONDS = 2.0
"""Maximum seconds for writing the rows of durable jobs."""


class Outbox:
    """The outbox of one app, in the databases ``stores``.

    ``history`` is the store of the history, whose journal deletes rows by ``forget``, and by ``keep`` notes that the
    rows of durable jobs are published.
    """

    databases_kind = Databases
    publishing_kind = Publishing
    looking_kind = Looking
    follower_kind = Follower
    """The classes of its parts; the test kit has others."""

    def __init__(
        self,
        app: Flask,
        stores: Sequence[Store],
        sender: Callable[[], Sender],
        history: Store,
        forget: Callable[[Sequence[str]], object],
        keep: Callable[[Sequence[str]], object],
    ) -> None:
        self._history = history
        self._app = weakref.ref(app)  # what is closed with the app must not keep it alive
        self._databases = self.databases_kind(stores)
        self._erasers = Erasers(stores, history, forget, keep)
        self._publishing = self.publishing_kind(sender, self._erasers.erase, self._erasers.keep)
        self._looking = self.looking_kind(self._publishing)
        self._follower = self.follower_kind(self._publishing, self._looking)

    def on_commit(self, enqueue: Callable[..., T], *args: Any, session: Any = None, **options: Any) -> T:
        """Call ``enqueue(*args, **options)``; all jobs that it enqueues wait for the transaction of ``session``.

        Returns what ``enqueue`` returns. Raises ``InvalidOption`` for a session that we cannot use,
        ``DatabaseUnavailable`` if its database has no outbox, and what ``enqueue`` raises; then no job waits.
        """
        _refuse_connections(options)
        with collected() as jobs:
            result = enqueue(*args, **options)
        if jobs:
            self.hold(jobs, session)
        return result

    def hold(self, jobs: Sequence[Composed], session: Any = None) -> None:
        """Write the rows of ``jobs`` in the transaction of ``session``, and publish the jobs after its commit."""
        reset_if_forked()
        connection, owner = sessions.reach(self._extensions, session)
        store = self._databases.of(connection)
        jobs = [_named(job) for job in jobs]
        rows = [_row(job) for job in jobs]
        if store is None:
            connection.exec_driver_sql("SELECT 1")  # begins a transaction, as a row would
        else:
            writing.write(connection, rows)
        held = [(job, row.id) for job, row in zip(jobs, rows, strict=True)]
        self._follower.hold(connection, owner, store, held)

    def keep(self, jobs: Sequence[Composed]) -> Holders:
        """Write the rows of durable ``jobs`` in a transaction of our own, and publish the jobs after it.

        Returns the holders of the locks of unique jobs that are not enqueued because of that. What cannot be published
        now is left to a relay. Raises ``DatabaseUnavailable``; then no job is enqueued.
        """
        reset_if_forked()
        jobs = [_named(job) for job in jobs]
        rows = [_row(job) for job in jobs]
        with self._history.begin(timeout=WRITE_SECONDS) as connection:
            writing.write(connection, rows)
        held = [Held(job, row.id, frozenset()) for job, row in zip(jobs, rows, strict=True)]
        return self._publishing.publish(self._history, held, ids_are_known=False).duplicates

    def keep_if(
        self, job: Composed, allowed: Callable[[Connection], bool], *, row_id: str, timeout: float
    ) -> bool:
        """Write the row of ``job`` in a transaction of our own, if ``allowed(connection)`` in it, and publish the job.

        ``row_id`` is the row's id, unless the job is durable. Returns whether the broker has the job; False, too, if a
        relay publishes it later. Raises ``DatabaseUnavailable`` within ``timeout`` seconds; then the transaction may
        have committed, if its answer was lost.
        """
        reset_if_forked()
        job = _named(job)
        row = _row(job, row_id)
        with self._history.begin(timeout=timeout) as connection:
            wanted = allowed(connection)
            if wanted:
                writing.write(connection, [row])
        return wanted and not self._publishing.publish(self._history, [Held(job, row.id, frozenset())]).left

    def waits(self) -> bool:
        """Whether Flask-SQLAlchemy's session is in a transaction now."""
        return has_app_context() and sessions.is_open(self._extensions)

    @property
    def _extensions(self) -> Mapping[str, Any]:
        app = self._app()
        return app.extensions if app is not None else {}

    def close(self) -> None:
        """Publish what has committed, delete what is published, and end the threads."""
        self._looking.close()
        self._erasers.close()


def _refuse_connections(options: Mapping[str, Any]) -> None:
    """Raise ``InvalidOption`` for an option that names a connection: somebody else publishes the job later."""
    for name in ("connection", "producer", "publisher"):
        if options.get(name) is not None:
            raise InvalidOption(
                name, options[name], "a job that waits for a transaction is published over another"
            )


def _named(job: Composed) -> Composed:
    """``job``; if it is durable, with the id of its row in its message."""
    if DURABLE not in job.envelope.headers[HISTORY]:
        return job
    past = {**job.envelope.headers[HISTORY], DURABLE: new_id()}
    return job._replace(envelope=replace(job.envelope, headers={**job.envelope.headers, HISTORY: past}))


def _row(job: Composed, row_id: str | None = None) -> Row:
    durable = job.envelope.headers[HISTORY].get(DURABLE)
    try:
        return row_of(
            job.envelope,
            task=str(job.envelope.headers["task"]),
            queue=job.queue,
            due=job.due,
            row_id=durable or row_id,
            durable=durable is not None,
        )
    except (TypeError, ValueError) as exc:
        found = unencodable_header(job.envelope.headers)
        if found is None:
            raise
        raise found from exc


__all__ = ["Outbox"]
