"""Jobs that have not started, as the history knows: in which queues they wait, and for how long."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select

from ..domain.job import JobState
from ..store import Store
from ..store.tables import jobs, kinds

LATEST = 5000
"""Number of latest jobs to read, so that the query takes milliseconds, however many jobs wait."""
LOOK_SECONDS = 2.0
LOOKED_AT = 500
"""Jobs of a kind among which the oldest one that is due is looked for."""
MOST_KINDS = 1_000


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


def oldest_ready(store: Store, queues: Collection[str], now: datetime) -> dict[str, datetime]:
    """Since when the oldest job of each of ``queues`` could have started; queues without such a job are left out.

    Of each kind of jobs it looks at the ``LOOKED_AT`` that were enqueued first, so a job behind that many ones that
    are not due yet is not found. Raises ``DatabaseUnavailable``.
    """
    since = func.coalesce(jobs.c.due_at, jobs.c.enqueued_at, type_=jobs.c.enqueued_at.type)
    first = select(since.label("since")).where(jobs.c.kind == kinds.c.id).correlate(kinds)
    first_ones = first.order_by(jobs.c.kind, jobs.c.enqueued_at).limit(LOOKED_AT).subquery()
    oldest = select(func.min(first_ones.c.since)).where(first_ones.c.since <= now).scalar_subquery()
    waiting = kinds.c.state.in_((JobState.QUEUED, JobState.RETRYING)), kinds.c.queue.in_(queues)
    query = select(kinds.c.queue, oldest).where(*waiting).limit(MOST_KINDS)
    with store.read(timeout=LOOK_SECONDS) as connection:
        rows = connection.execute(query).all()
    found: dict[str, datetime] = {}
    for queue, at in rows:
        if at is not None:
            found[queue] = min(at, found.get(queue, at))
    return found


__all__ = ["oldest_ready", "waiting_queues"]
