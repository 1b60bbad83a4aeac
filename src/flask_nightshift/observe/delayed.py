"""Jobs that wait for their time, the soonest first: delayed ones, and those that wait for a retry."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, select, tuple_

from ..brokers.base import DelayedJobs
from ..domain.job import JobState
from ..domain.recording import ALL
from ..services import Services
from ..store.tables import jobs
from ..store.types import KeyText, UtcDateTime, key_of
from . import delayed_in_broker
from .job_keys import Key
from .jobs import key_from, key_of_page
from .waiting_job import Page, WaitingJob

MOST = 1_000
"""Maximum number of jobs on a page."""
READ_SECONDS = 5.0
STATES = (JobState.QUEUED, JobState.RETRYING)


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

    ``state``: only delayed ones (``QUEUED``) or only those that wait for a retry (``RETRYING``). Where the history does
    not record all jobs, the broker is asked if it can list them. Raises ``DatabaseUnavailable``, ``BrokerUnavailable``,
    or ``InvalidKey`` for an ``after`` that no page has given.
    """
    limit = max(1, min(limit, MOST))
    if (listed := _unrecorded(services)) is not None:
        return delayed_in_broker.page(
            services, listed, state=state, task=task or None, queue=queue or None, limit=limit, after=after
        )
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


def _unrecorded(services: Services) -> DelayedJobs | None:
    """The delayed jobs of the broker, if the history does not record all of them."""
    return services.broker.delayed_jobs() if services.settings.history != ALL else None


__all__ = ["Page", "WaitingJob", "page"]
