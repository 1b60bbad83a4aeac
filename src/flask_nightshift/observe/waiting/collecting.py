"""Collects the facts about one job: from the history, the outboxes and the broker, each in bounded time."""

from __future__ import annotations

from datetime import datetime, timedelta

from ... import journal
from ...brokers.values import Place
from ...domain.job import JobState, utcnow
from ...domain.record import JobRecord
from ...domain.relatives import ENDED, Family
from ...errors import BrokerUnavailable
from ...outbox.waiting_rows import waiting_row
from ...services import Services
from ...store import heartbeats
from .. import pauses
from .deciding import why
from .values import Facts, InOutbox, Pace, Waiting

WINDOW = timedelta(minutes=5)
"""How far back the pace of a queue is measured."""
_LEAST = 10.0


def waiting_for(services: Services, job: JobRecord, family: Family | None = None) -> Waiting | None:
    """Why ``job`` waits now; None if it runs or has ended. ``family`` is what the history knows of its relatives.

    Raises ``DatabaseUnavailable``. A broker that is away is a reason, and no error.
    """
    return None if job.state in ENDED else why(collect(services, job, family))


def collect(services: Services, job: JobRecord, family: Family | None) -> Facts:
    """The facts about ``job``; raises ``DatabaseUnavailable``."""
    now, queue = utcnow(), job.queue
    rows = heartbeats.workers(services.store, now)
    consumers = [row.name for row in rows if row.healthy and queue in row.queues]
    place, error, replaced_by = _in_broker(services, job)
    row = waiting_row(services.outboxes, job.id)
    return Facts(
        now=now,
        job=job,
        workers=rows,
        known=heartbeats.known_tasks(services.store, consumers),
        place=place,
        broker_error=error,
        outbox=InOutbox(row.created_at, row.claimed_by) if row is not None else None,
        relays=any(each.healthy for each in rows) or bool(heartbeats.beats(services.store, now).alive),
        replaced_by=replaced_by,
        paused=str(pause) if (pause := pauses.of_queue(services, queue)) is not None else None,
        pace=_pace(services, queue, now),
        after=family.parent if family is not None else None,
        parts=family.parts if family is not None else None,
    )


def _in_broker(services: Services, job: JobRecord) -> tuple[Place | None, str | None, str]:
    """Where the job is, why the broker does not tell, and which job has replaced it."""
    if not job.queue:
        return None, None, ""
    try:
        place = services.broker.place(job.queue, job.id, job.due_at)
        replaced = services.locks.replaced_by(job.id) if job.state is not JobState.RUNNING else ""
    except BrokerUnavailable as exc:
        return None, str(exc), ""
    return place, None, replaced


def _pace(services: Services, queue: str, now: datetime) -> Pace | None:
    """The attempts of the queue that ended in the last minutes; None if there are none."""
    ended = journal.ended_since(services.store, queue, now - WINDOW)
    if ended is None:
        return None
    return Pace(ended.attempts, max(_LEAST, (now - ended.first_minute).total_seconds()))


__all__ = ["collect", "waiting_for"]
