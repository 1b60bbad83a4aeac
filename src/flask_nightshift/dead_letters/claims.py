"""Claim a dead letter for a replay, so that no two replays publish it at the same time.

    waiting ─► replaying ─► replayed
       ▲           │
       └───────────┘   the publish failed, or the claim is older than ``STALE`` seconds

A claim is one conditional ``UPDATE``, so of two replays, or of a replay and a discard, exactly one gets the letter. A
crash between the publish and the mark leaves a claim behind. ``take_back`` ends it: the letter becomes ``replayed`` if
the job's next run began after the claim, and else ``waiting``, because a job that runs twice is better than one that is
lost. A next run that began before the claim proves nothing, because apps may reuse a job's id.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from ..domain.job import DeadLetter, utcnow
from ..errors import DatabaseUnavailable
from ..journal import record_changed, record_replayed
from ..message.arguments import shown_arguments
from ..message.headers import ref, run
from ..store import Store
from ..store.tables import dead_letters as table
from ..store.tables import jobs
from .letters import ArchivedLetter, Status, archived

STALE = 60.0
"""Seconds after which a claim is taken back; a publish takes at most three."""
MARK_TIMEOUT = 30.0
"""Seconds for which a replay tries to mark a published letter."""
CHUNK = 500


class Claims:
    """The claims of one replay. ``recorded``: the history has jobs.

    ``noted`` is called in each transaction that marks a letter.
    """

    def __init__(
        self,
        store: Store,
        *,
        recorded: bool = True,
        noted: Callable[[Connection], object] = lambda connection: None,  # noqa: ARG005
    ) -> None:
        self._store = store
        self._recorded = recorded
        self._noted = noted
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._before = Status.WAITING
        self._until = 0.0

    def claim(
        self, letter_id: str, among: Sequence[Status], changed: tuple[str, str] | None = None
    ) -> ArchivedLetter | None:
        """Claim the letter if its status is in ``among``; else, or if there is no such letter, returns None.

        ``changed`` are the arguments, as texts, with which its job is going to run.
        """
        args, kwargs = changed or (None, None)
        new = {"new_args": args, "new_kwargs": kwargs}
        for status in among:
            with self._store.begin() as connection:
                statement = (
                    update(table)
                    .where(table.c.id == letter_id, table.c.status == status)
                    .values(
                        status=Status.REPLAYING, status_at=_clock(connection), claimed_by=self._name, **new
                    )
                    .returning(*table.c)
                )
                row = connection.execute(statement).one_or_none()
            if row is not None:
                self._before, self._until = status, time.monotonic() + STALE / 2
                return archived(row)
        return None

    @property
    def holds(self) -> bool:
        """Whether the last claim is young enough to publish; it is too old if the process was suspended meanwhile."""
        return time.monotonic() < self._until

    def release(self, letter_id: str) -> None:
        """Return a letter that was not published to its status before the last claim."""
        mine = (table.c.id == letter_id, table.c.claimed_by == self._name)
        with self._store.begin() as connection:
            connection.execute(update(table).where(*mine).values(_WAITING | {"status": self._before}))

    def published(
        self,
        letter: DeadLetter,
        queue: str,
        sleep: Callable[[float], object],
        *,
        changed: bool = False,
    ) -> None:
        """Mark a letter whose job was published to ``queue``. ``changed``: its arguments are other ones than before.

        Raises ``DatabaseUnavailable`` after ``MARK_TIMEOUT``.
        """
        until = time.monotonic() + MARK_TIMEOUT
        while True:
            try:
                return self._mark(letter, queue, changed=changed)
            except DatabaseUnavailable:
                if time.monotonic() >= until:
                    raise
            sleep(0.5)

    def _mark(self, letter: DeadLetter, queue: str, *, changed: bool) -> None:
        now = utcnow()
        with self._store.begin() as connection:
            # regardless of its status, because the job will run
            done = {"status": Status.REPLAYED, "status_at": now, "claimed_by": None}
            connection.execute(update(table).where(table.c.id == letter.id).values(done))
            if letter.job_id and self._recorded:
                job = ref(letter.headers, queue)
                record_replayed(connection, [job], now)
                if changed:  # a merge keeps the arguments that it heard of first
                    record_changed(connection, job, shown_arguments(letter.headers))
            self._noted(connection)


_WAITING: dict[str, Any] = {
    "status": Status.WAITING,
    "status_at": table.c.archived_at,
    "claimed_by": None,
    "new_args": None,
    "new_kwargs": None,
}


def take_back(store: Store) -> int:
    """End the claims that are older than ``STALE``; returns their number. Raises ``DatabaseUnavailable``."""
    with store.begin() as connection:
        stale = (
            table.c.status == Status.REPLAYING,
            table.c.status_at < _clock(connection, timedelta(seconds=STALE)),
        )
        job = (jobs.c.run, (jobs.c.started_at > table.c.status_at).label("since"))
        query = select(table.c.id, table.c.headers, *job).outerjoin(jobs, jobs.c.id == table.c.job_id)
        found = connection.execute(query.where(*stale).limit(CHUNK)).all()
        for row in found:
            begun = row.since and row.run > run(row.headers)
            values = {"status": Status.REPLAYED, "claimed_by": None} if begun else _WAITING
            connection.execute(update(table).where(table.c.id == row.id, *stale).values(values))
    return len(found)


def _clock(connection: Connection, before: timedelta = timedelta()) -> Any:
    """PostgreSQL's time, because machines' clocks differ; SQLite uses this machine's."""
    if connection.dialect.name == "postgresql":
        return func.clock_timestamp() - before
    return utcnow() - before


__all__ = ["MARK_TIMEOUT", "STALE", "Claims", "take_back"]
