"""Takes cancelled jobs out of an outbox, before anything publishes them.

A row that a relay has claimed is left alone: its message is on the way to the broker, and a worker finds the job's
tombstone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, or_, select, update

from ..domain.job import JobState, utcnow
from ..message.envelope import Envelope
from ..store import Store, ledger
from ..store.matching import fits
from ..store.outbox_rows import MOST_IDS
from ..store.tables import outbox
from ..store.types import key_of
from .rows import WAITING, Row

READ_SECONDS = 10.0


class Withdrawn:
    """A job that was taken out of an outbox, with its message."""

    __slots__ = ("envelope", "queue")

    def __init__(self, row: Row) -> None:
        self.queue = row.queue
        self.envelope: Envelope | None
        try:
            self.envelope = row.envelope()
        except ValueError:  # damaged, or of another version
            self.envelope = None


def withdraw(
    store: Store, job_ids: Sequence[str], at: datetime, claimed_by: str | None = None
) -> dict[str, Withdrawn]:
    """Take the jobs ``job_ids`` out; returns those that were there, by id. Raises ``DatabaseUnavailable``.

    Rows that somebody has claimed stay, except those that ``claim`` has ``claimed_by`` this name.
    """
    found: dict[str, Withdrawn] = {}
    with store.begin() as connection:
        for first in range(0, len(job_ids), MOST_IDS):
            found |= _withdraw(connection, job_ids[first : first + MOST_IDS], at, claimed_by)
    return found


def _withdraw(
    connection: Connection, job_ids: Sequence[str], at: datetime, claimed_by: str | None
) -> dict[str, Withdrawn]:
    by_key = {key_of(job_id): job_id for job_id in job_ids}
    query = (
        select(*outbox.c)
        .where(outbox.c.job_id.in_(by_key), *_free(claimed_by))
        .with_for_update(skip_locked=True)
    )
    rows = [Row(*row) for row in connection.execute(query)]
    if not rows:
        return {}
    durable = [row for row in rows if row.durable]
    state = JobState.CANCELLED.value
    ledger.close(connection, [ledger.Ended(row.id, row.run, state, at) for row in durable])
    others = [row.id for row in rows if not row.durable]
    connection.execute(delete(outbox).where(outbox.c.id.in_(others)))
    return {by_key[row.job_id]: Withdrawn(row) for row in rows}


class Wanted(NamedTuple):
    """Jobs that wait in an outbox: ``task`` and ``queue`` are patterns; ``before``: they were enqueued before then."""

    task: str | None = None
    queue: str | None = None
    before: datetime | None = None

    def conditions(self) -> list[Any]:
        """The conditions without that nobody publishes the rows now."""
        patterns = ((outbox.c.task, self.task), (outbox.c.queue, self.queue))
        found = [*(fits(column, pattern) for column, pattern in patterns if pattern is not None)]
        return found if self.before is None else [*found, outbox.c.created_at < self.before]


def count(store: Store, wanted: Wanted) -> int:
    """The number of jobs that wait in an outbox and are ``wanted``; raises ``DatabaseUnavailable``."""
    query = select(func.count()).select_from(outbox).where(*_free(), *wanted.conditions())
    with store.read(timeout=READ_SECONDS) as connection:
        return int(connection.execute(query).scalar_one())


def waiting(store: Store, wanted: Wanted, limit: int) -> list[tuple[str, str, str]]:
    """The first ``limit`` jobs that wait in an outbox and are ``wanted``: id, task and queue of each."""
    query = select(outbox.c.job_id, outbox.c.task, outbox.c.queue).where(*_free(), *wanted.conditions())
    with store.read(timeout=READ_SECONDS) as connection:
        found = connection.execute(query.order_by(outbox.c.created_at).limit(limit))
        return [(row.job_id, row.task, row.queue) for row in found]


def claim(store: Store, wanted: Wanted, limit: int, by: str) -> list[tuple[str, str, str]]:
    """The first ``limit`` jobs that are ``wanted`` as for ``waiting``, and claim them, so that no relay publishes them.

    Among them are those that an earlier call has claimed ``by`` the same name.
    """
    free = select(outbox.c.id).where(*_free(by), *wanted.conditions()).order_by(outbox.c.created_at)
    free = free.limit(limit).with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time
    values = {"copy": outbox.c.copy + 1, "claimed_by": by, "claimed_at": utcnow()}
    statement = update(outbox).where(outbox.c.id.in_(free)).values(values)
    with store.begin(timeout=READ_SECONDS) as connection:
        found = connection.execute(statement.returning(outbox.c.job_id, outbox.c.task, outbox.c.queue))
        return [(row.job_id, row.task, row.queue) for row in found]


def _free(by: str | None = None) -> tuple[Any, ...]:
    """The conditions for waiting rows that nobody publishes now, or that are claimed ``by`` this name."""
    unclaimed = outbox.c.claimed_by.is_(None)
    return outbox.c.state == WAITING, unclaimed if by is None else or_(unclaimed, outbox.c.claimed_by == by)


__all__ = ["Wanted", "Withdrawn", "claim", "count", "waiting", "withdraw"]
