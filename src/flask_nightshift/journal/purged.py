"""Marks jobs whose messages were deleted with their queue, as far as the history can tell.

No broker says which messages it deleted. A job that waits by the history, and of which nothing was heard since the
purge, was deleted with its queue. If that is a mistake (a worker held the job), the mark does not stand in the way: it
keeps the place of the job's last event, so whatever is heard next replaces it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, or_, select

from ..domain.job import JobState
from ..store.kinds import kind_of
from ..store.outbox_rows import WAITING
from ..store.tables import jobs, outbox
from .jobs import Row, write

PURGED = "purged"
"""What the history gives as the error of such a job."""
WHY = "its queue was purged"
_WAIT = (JobState.QUEUED, JobState.RETRYING)


def mark_purged(
    connection: Connection, ids: Sequence[str], queue: str, at: datetime, now: datetime, *, delayed: bool
) -> int:
    """Mark those of the jobs ``ids`` that were deleted when ``queue`` was purged ``at`` that moment; how many.

    ``delayed``: the purge deleted delayed jobs, too.
    """
    unpublished = select(outbox.c.id).where(outbox.c.job_id == jobs.c.id, outbox.c.state == WAITING).exists()
    conditions = [jobs.c.queue == queue, jobs.c.state.in_(_WAIT), jobs.c.updated_at <= at, ~unpublished]
    if not delayed:
        conditions.append(or_(jobs.c.due_at.is_(None), jobs.c.due_at <= at))
    query = select(*jobs.c).where(jobs.c.id.in_(ids), *conditions).with_for_update()
    found = connection.execute(query).all()
    state = JobState.CANCELLED.value
    write(connection, [
        Row(
            row.id, row.task, row.queue, state, row.place, row.run, row.attempts,
            error=PURGED, error_message=WHY, enqueued_at=row.enqueued_at, finished_at=at, updated_at=now,
            kind=kind_of(state, row.task, row.queue, None, PURGED),
        )
        for row in found
    ])  # fmt: skip
    return len(found)


__all__ = ["PURGED", "WHY", "mark_purged"]
