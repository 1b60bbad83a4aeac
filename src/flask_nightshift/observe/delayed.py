"""Jobs that wait for their time, the soonest first: delayed ones, and those that wait for a retry."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, select, tuple_

from ..domain.job import JobState
from ..services import Services
from ..store.tables import jobs
from ..store.types import KeyText, UtcDateTime, key_of
from .job_keys import Key
from .jobs import key_from, key_of_page

MOST = 1_000
"""Maximum number of jobs on a page."""
READ_SECONDS = 5.0
STATES = (JobState.QUEUED, JobState.RETRYING)


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that may start at ``due``. ``error`` and ``message`` are those of its last attempt, if it has failed."""

    id: str
    task: str
    queue: str
    state: JobState
    due: datetime
    attempts: int
    max_retries: int | None
    enqueued_at: datetime | None
    error: str | None
    message: str | None

    def as_dict(self) -> dict[str, Any]:
        """The job in plain JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
        } | {"state": str(self.state)}


@dataclass(frozen=True, slots=True)
class Page:
    """Some of them, and ``after``, the key with which the next page begins; None if there is none."""

    jobs: list[WaitingJob] = field(default_factory=list)
    after: str | None = None


def page(
    services: Services,
    now: datetime,
    *,
    state: JobState | None = None,
    task: str | None = None,
    queue: str | None = None,
    limit: int = 50,
    after: str | None = None,
) -> Page:
    """Up to ``limit`` jobs that wait for their time at ``now``, the soonest first, after the key ``after`` of a page.

    ``state``: only delayed ones (``QUEUED``) or only those that wait for a retry (``RETRYING``). Raises
    ``DatabaseUnavailable``, or ``InvalidKey`` for an ``after`` that no page has given.
    """
    limit = max(1, min(limit, MOST))
    # as an expression, because SQLite would take the index of states, which has all the jobs that wait in line
    in_state = func.coalesce(jobs.c.state, "").in_(STATES if state is None else (state,))
    wanted: list[Any] = [in_state, jobs.c.due_at > now]
    wanted += [
        column == key_of(value) for column, value in ((jobs.c.task, task), (jobs.c.queue, queue)) if value
    ]
    if after is not None and (key := key_from(after)).at is not None:
        place = tuple_(literal(key.at, UtcDateTime()), literal(key.id, KeyText()))
        wanted.append(tuple_(jobs.c.due_at, jobs.c.id) > place)
    columns = (
        jobs.c.id, jobs.c.task, jobs.c.queue, jobs.c.state, jobs.c.due_at, jobs.c.attempts, jobs.c.max_retries,
        jobs.c.enqueued_at, jobs.c.error, jobs.c.error_message,
    )  # fmt: skip
    query = select(*columns).where(*wanted).order_by(jobs.c.due_at, jobs.c.id).limit(limit + 1)
    with services.store.read(timeout=READ_SECONDS) as connection:
        found = [
            WaitingJob(row.id, row.task, row.queue, JobState(row.state), row.due_at, row.attempts, row.max_retries,
                       row.enqueued_at, row.error, row.error_message)
            for row in connection.execute(query)
        ]  # fmt: skip
    last = found[limit - 1] if len(found) > limit else None
    return Page(found[:limit], key_of_page(Key(last.due, last.id)) if last else None)


__all__ = ["Page", "WaitingJob", "page"]
