"""The jobs that have not ended, as far as the history knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select

from ..domain.job import JobState
from ..store import Store
from ..store.tables import jobs

_AT_ONCE = 500
STATES = (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Conditions that an unfinished job meets, all of them. ``before``: it was enqueued before that moment."""

    task: str | None = None
    queue: str | None = None
    state: JobState | str | None = None
    before: datetime | None = None

    def conditions(self, columns: Any) -> list[Any]:
        """The conditions on ``task`` and ``queue`` for a table with these ``columns``."""
        wanted = ((columns.task, self.task), (columns.queue, self.queue))
        return [column == value for column, value in wanted if value is not None]


class Target(NamedTuple):
    """An unfinished job. ``due``: when it may start (None: at once). ``worker`` ran it last, as the history says."""

    job_id: str
    task: str
    queue: str
    state: str
    due: datetime | None = None
    worker: str | None = None


def targets(store: Store, job_ids: Sequence[str]) -> list[Target]:
    """Those of the jobs ``job_ids`` that the history knows, in any state; raises ``DatabaseUnavailable``."""
    found: list[Target] = []
    query = select(jobs.c.id, jobs.c.task, jobs.c.queue, jobs.c.state, jobs.c.due_at, jobs.c.worker)
    for first in range(0, len(job_ids), _AT_ONCE):
        with store.read() as connection:
            rows = connection.execute(query.where(jobs.c.id.in_(job_ids[first : first + _AT_ONCE])))
            found += [Target(*row) for row in rows]
    return found


def unfinished(store: Store, wanted: Unfinished, limit: int) -> list[Target]:
    """Up to ``limit`` of them; raises ``DatabaseUnavailable``."""
    states = STATES if wanted.state is None else (JobState(wanted.state),)
    query = select(jobs.c.id, jobs.c.task, jobs.c.queue, jobs.c.state, jobs.c.due_at, jobs.c.worker)
    query = query.where(jobs.c.state.in_(states), *wanted.conditions(jobs.c))
    if wanted.before is not None:
        query = query.where(jobs.c.enqueued_at < wanted.before)
    with store.read() as connection:
        return [Target(*row) for row in connection.execute(query.order_by(jobs.c.id).limit(limit))]


__all__ = ["STATES", "Target", "Unfinished", "targets", "unfinished"]
