"""Takes cancelled jobs out of an outbox, before anything publishes them.

A row that a relay has claimed is left alone: its message is on the way to the broker, and a worker finds the job's
tombstone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select

from ..domain.job import JobState
from ..message.envelope import Envelope
from ..store import Store, ledger
from ..store.outbox_rows import MOST_IDS
from ..store.tables import outbox
from ..store.types import key_of
from .rows import WAITING, Row

_FREE = (outbox.c.state == WAITING, outbox.c.claimed_by.is_(None))


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


def withdraw(store: Store, job_ids: Sequence[str], at: datetime) -> dict[str, Withdrawn]:
    """Take the jobs ``job_ids`` out; returns those that were there, by id. Raises ``DatabaseUnavailable``."""
    found: dict[str, Withdrawn] = {}
    with store.begin() as connection:
        for first in range(0, len(job_ids), MOST_IDS):
            found |= _withdraw(connection, job_ids[first : first + MOST_IDS], at)
    return found


def _withdraw(connection: Connection, job_ids: Sequence[str], at: datetime) -> dict[str, Withdrawn]:
    by_key = {key_of(job_id): job_id for job_id in job_ids}
    query = select(*outbox.c).where(outbox.c.job_id.in_(by_key), *_FREE).with_for_update(skip_locked=True)
    rows = [Row(*row) for row in connection.execute(query)]
    if not rows:
        return {}
    durable = [row for row in rows if row.durable]
    state = JobState.CANCELLED.value
    ledger.close(connection, [ledger.Ended(row.id, row.run, state, at) for row in durable])
    others = [row.id for row in rows if not row.durable]
    connection.execute(delete(outbox).where(outbox.c.id.in_(others)))
    return {by_key[row.job_id]: Withdrawn(row) for row in rows}


def waiting(
    store: Store, task: str | None, queue: str | None, before: datetime | None, limit: int
) -> list[tuple[str, str, str]]:
    """Up to ``limit`` jobs that wait in an outbox, those of ``task`` and ``queue`` that were enqueued ``before``.

    Returns id, task and queue of each.
    """
    wanted = ((outbox.c.task, task), (outbox.c.queue, queue))
    conditions = [column == value for column, value in wanted if value is not None]
    if before is not None:
        conditions.append(outbox.c.created_at < before)
    query = select(outbox.c.job_id, outbox.c.task, outbox.c.queue).where(*_FREE, *conditions)
    with store.read() as connection:
        found = connection.execute(query.order_by(outbox.c.created_at).limit(limit))
        return [(row.job_id, row.task, row.queue) for row in found]


__all__ = ["Withdrawn", "waiting", "withdraw"]
