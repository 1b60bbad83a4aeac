"""Find the queues of jobs that, according to the history, have not started."""

from __future__ import annotations

from sqlalchemy import select

from ..domain.job import JobState
from ..store import Store
from ..store.tables import jobs

LATEST = 5000
"""Number of latest jobs to read, so that the query takes milliseconds, however many jobs wait."""
LOOK_SECONDS = 2.0


def waiting_queues(store: Store) -> set[str]:
    """The queues of the latest waiting jobs; raises ``DatabaseUnavailable``."""
    latest = (
        select(jobs.c.queue)
        .where(jobs.c.state == JobState.QUEUED)
        .order_by(jobs.c.updated_at.desc())
        .limit(LATEST)
        .subquery()
    )
    with store.read(timeout=LOOK_SECONDS) as connection:
        return set(connection.execute(select(latest.c.queue).distinct()).scalars())


__all__ = ["waiting_queues"]
