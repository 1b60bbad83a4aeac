"""The jobs that wait for their time as the broker lists them, where the history does not record all jobs."""

from __future__ import annotations

from datetime import UTC, datetime

from ..brokers.base import DelayedJobs
from ..brokers.values import DelayedJob
from ..domain.job import JobState
from ..message.headers import attempts, history, parse_time
from ..services import Services
from .job_keys import Key
from .jobs import key_from, key_of_page
from .waiting_job import Page, WaitingJob

LOOKED_AT = 1_000
"""Delayed jobs of one queue among which a filter looks for one page."""
_NEVER = datetime.max.replace(tzinfo=UTC)


def page(
    services: Services,
    delayed: DelayedJobs,
    *,
    state: JobState | None,
    task: str | None,
    queue: str | None,
    limit: int,
    after: str | None,
) -> Page:
    """As ``page`` of ``delayed.py``; raises ``BrokerUnavailable``, or ``InvalidKey``.

    A page of a filter may have fewer than ``limit`` jobs, or none, although another one follows.
    """
    begin = key_from(after) if after is not None else None
    place = (begin.at, begin.id) if begin is not None and begin.at is not None else None
    look = limit + 1 if state is None and task is None else max(LOOKED_AT, limit + 1)
    found: list[WaitingJob] = []
    ends: list[tuple[datetime, str]] = []
    for name in (queue,) if queue else services.queues():
        listed = list(map(_waiting, delayed.following(name, look, place)))
        found += listed
        if len(listed) == look:
            ends.append(_place(listed[-1]))
    until = min(ends, default=None)
    known = [job for job in found if until is None or _place(job) <= until]
    fitting = [job for job in known if state in (None, job.state) and task in (None, job.task)]
    fitting.sort(key=_place)
    if len(fitting) > limit:
        until = _place(fitting[limit - 1])
    return Page(fitting[:limit], key_of_page(Key(*until)) if until is not None else None)


def _place(job: WaitingJob) -> tuple[datetime, str]:
    return job.due, job.id


def _waiting(job: DelayedJob) -> WaitingJob:
    """What its message tells."""
    headers = job.envelope.headers
    past = attempts(headers)
    last = past[-1] if past else {}
    return WaitingJob(
        id=job.job_id,
        task=job.task,
        queue=job.queue,
        state=JobState.RETRYING if headers.get("retries") else JobState.QUEUED,
        due=job.due or _NEVER,
        attempts=len(past),
        max_retries=None,
        enqueued_at=parse_time(history(headers).get("enqueued_at")),
        error=last.get("error"),
        message=last.get("message"),
    )


__all__ = ["page"]
