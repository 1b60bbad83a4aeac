"""Which queues the history has seen jobs enqueued to that have not begun."""

from __future__ import annotations

from sqlalchemy import select

from ..domain.job import JobState
from ..store import Store
from ..store.tables import jobs

LATEST = 5000
"""Jobs that are looked at, the latest: it takes milliseconds however many wait."""
TIMEOUT = 2.0


def waiting_queues(store: Store) -> set[str]:
    """The queues of the latest jobs that wait; raises ``DatabaseUnavailable``."""
    latest = (
        select(jobs.c.queue)
        .where(jobs.c.state == JobState.QUEUED)
        .order_by(jobs.c.updated_at.desc())
        .limit(LATEST)
        .subquery()
    )
    with store.read(timeout=TIMEOUT) as connection:
        return set(connection.execute(select(latest.c.queue).distinct()).scalars())


__all__ = ["waiting_queues"]
