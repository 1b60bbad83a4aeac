"""The jobs that wait for their time as the broker lists them, where the history does not record all jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ..brokers.base import DelayedJobs
from ..brokers.values import DelayedJob
from ..domain.job import JobState
from ..message.headers import attempts, history, parse_time
from ..services import Services
from .job_keys import Key
from .jobs import key_from, key_of_page
from .waiting_job import Page, WaitingJob

MOST = 1_000
"""Delayed jobs of one queue, the soonest, among which a filter or a later page looks."""
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
    """As ``page`` of ``delayed.py``; raises ``BrokerUnavailable``, or ``InvalidKey``."""
    begin = key_from(after) if after is not None else None
    look = limit + 1 if begin is None and state is None and task is None else MOST
    found: list[WaitingJob] = []
    cut = False
    for name in (queue,) if queue else services.queues():
        listed = list(_listed(delayed, name, look))
        cut = cut or (look == MOST and len(listed) == MOST)
        found += [job for job in listed if state in (None, job.state) and task in (None, job.task)]
    found.sort(key=lambda job: (job.due, job.id))
    if begin is not None and begin.at is not None:
        place = begin.at, begin.id
        found = [job for job in found if (job.due, job.id) > place]
    last = found[limit - 1] if len(found) > limit else None
    return Page(
        found[:limit], key_of_page(Key(last.due, last.id)) if last else None, cut=cut and last is None
    )


def _listed(delayed: DelayedJobs, queue: str, limit: int) -> Iterator[WaitingJob]:
    return map(_waiting, delayed.soonest(queue, limit))


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
