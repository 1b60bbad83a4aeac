"""Running delayed jobs now where ``NIGHTSHIFT_HISTORY`` does not record all jobs: the broker lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import RowMapping

from ...brokers.values import DelayedJob
from ...domain.job import JobState, utcnow
from ...domain.recording import ALL
from ...message.headers import attempts, history, parse_time
from ...observe.jobs import Filters
from ...services import Services
from ...store.bulk_actions import Position, Progress, Step
from ...text import patterns
from ..delayed import NOT_DELAYED, Known, hold, run_known
from .portion import Portion

MOST = 10_000
"""Delayed jobs of one queue, the soonest, that a plan counts and a portion looks at."""
BEYOND = "~"
"""After each id that begins with the same characters."""


def fits(services: Services, filters: Filters) -> bool:
    """Whether the broker has to list the jobs of ``filters``, and can tell which they are."""
    others = (filters.worker, filters.error, filters.tag, filters.search, filters.since, filters.until)
    return services.settings.history != ALL and not any(others)


def extent(services: Services, filters: Filters) -> tuple[int, Position | None]:
    """The number of delayed jobs that meet ``filters``, and a position after all of them."""
    now = utcnow()
    count = sum(1 for _ in _matching(services, filters, now))
    return count, Position(now, BEYOND) if count else None


def carry_out(portion: Portion, filters: Filters) -> None:
    """Run the next jobs. Each leaves the delayed ones, so the next portion finds those that are left.

    A job that fails comes back as a retry, with a later attempt. One that is postponed comes back as it was. So the
    action ends when it has met as many as were planned.
    """
    last, services, rate = portion.action.last, portion.services, portion.action.rate
    matching = _matching(services, filters, last and last.at)
    found = [each for each, _ in zip(matching, range(portion.size), strict=False)]
    met = done = 0
    for some in portion.steps(found):
        portion.begin(Step([job.job_id for job in some], None, {}))
        acted = run_known(services, [Known(job.job_id, job.queue, job.due or utcnow()) for job in some])
        why = +Counter({NOT_DELAYED: len(some) - acted})
        portion.note(Progress(None, acted, why, ended=False, rest=0.0))
        met, done = met + len(some), done + acted
    left = met < len(found)
    before = portion.action.acted + portion.action.skipped
    ended = not left and (len(found) < portion.size or not done or before + met >= portion.action.total)
    portion.finish_alone(Progress(None, 0, {}, ended=ended, rest=done / rate))


def those(portion: Portion, filters: Filters, job_ids: Collection[str]) -> list[Known]:
    """Those of ``job_ids`` that still wait for their time, and have not begun since the action was planned."""
    last = portion.action.last
    found = _matching(portion.services, filters, last and last.at)
    return [Known(job.job_id, job.queue, job.due or utcnow()) for job in found if job.job_id in job_ids]


def _matching(services: Services, filters: Filters, until: datetime | None) -> Iterator[DelayedJob]:
    """The delayed jobs that meet ``filters`` and were enqueued ``until`` then, as far as their messages tell."""
    delayed = hold(services)
    named = filters.queue is not None and patterns.is_literal(filters.queue)
    queues = (patterns.literal(filters.queue or ""),) if named else services.queues()
    for queue in queues:
        for job in delayed.soonest(queue, MOST):
            state = JobState.RETRYING if job.envelope.headers.get("retries") else JobState.QUEUED
            row = {"state": str(state), "task": job.task, "queue": queue}
            if not _is_later(job.envelope.headers, until) and filters.admits(cast("RowMapping", row)):
                yield job


def _is_later(headers: Mapping[str, Any], until: datetime | None) -> bool:
    """Whether the job was enqueued, or its last attempt began, after ``until``."""
    times = [history(headers).get("enqueued_at"), *(each.get("at") for each in attempts(headers)[-1:])]
    return until is not None and any(at > until for at in map(parse_time, times) if at is not None)


__all__ = ["carry_out", "extent", "fits", "those"]
