"""Actions on single delayed jobs, for brokers that can list them (``Capabilities.lists_delayed``).

All functions raise ``Unsupported`` for other brokers, and ``BrokerUnavailable``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ..brokers.base import DelayedJob, DelayedJobs
from ..domain.job import Failure, Reason, utcnow
from ..errors import BrokerUnavailable, Unsupported
from ..message.burial import DEAD_QUEUE, buried
from ..message.envelope import Envelope
from ..services import Services
from . import ids


def queues(services: Services, queue: str | None) -> Sequence[str]:
    """The queues in which to look: ``queue``, or all that the configuration or a task names."""
    _hold(services)
    return (queue,) if queue else services.queues()


def soonest(services: Services, queues: Sequence[str], limit: int) -> list[DelayedJob]:
    """Up to ``limit`` delayed jobs of ``queues``, the soonest first."""
    hold = _hold(services)
    return sorted((job for queue in queues for job in hold.soonest(queue, limit)), key=_due)[:limit]


def find(services: Services, queues: Sequence[str], given: Sequence[str]) -> list[str]:
    """The ids of the delayed jobs that ``given`` means, each an id, its start or its end.

    An id that no delayed job has is returned as it is. Raises ``JobNotFound`` if a part fits several jobs.
    """
    hold = _hold(services)
    return [ids.delayed_id(hold, queues, each) for each in given]


def cancel(services: Services, queues: Sequence[str], job_id: str, *, by: str, how: str) -> bool:
    """Take the job out before it starts, and keep it as a dead letter (reason: revoked).

    Returns False if the job is not delayed in ``queues`` (any more). ``by`` names the canceller in the dead letter, and
    ``how`` is its error message. If the broker goes down in between, the job is cancelled without a dead letter, and
    ``BrokerUnavailable`` says so.
    """
    hold = _hold(services)
    taken = next((job for queue in queues if (job := hold.take(queue, job_id))), None)
    if taken is None:
        return False
    try:
        services.broker.publish(_letter(taken, by, how), DEAD_QUEUE)
    except BrokerUnavailable as exc:
        text = f"{job_id} is cancelled, but could not be kept as a dead letter: {exc}"
        raise BrokerUnavailable(text) from exc
    return True


def run_now(services: Services, queues: Sequence[str], job_id: str) -> bool:
    """Put the job at the head of its queue; False if it is not delayed in ``queues`` (any more)."""
    hold = _hold(services)
    return any(hold.run_now(queue, job_id) for queue in queues)


def hand_over(services: Services, queue: str) -> int:
    """Leave the delayed jobs of ``queue``, with their times, to workers of plain Celery; returns their number.

    Stop the workers of the lease transport first; they would take the jobs back.
    """
    return _hold(services).hand_over(queue)


def _hold(services: Services) -> DelayedJobs:
    hold = services.broker.delayed_jobs()
    if hold is None:
        raise Unsupported(
            f"{services.broker.url} keeps delayed jobs where they cannot be seen one by one: that works on Redis "
            "and Valkey with NIGHTSHIFT_REDIS_TRANSPORT=lease. `flask jobs stats` counts them where it can."
        )
    return hold


def _letter(job: DelayedJob, by: str, how: str) -> Envelope:
    sent, failure = job.envelope, Failure("Cancelled", how)
    headers = buried(
        sent.headers, reason=Reason.REVOKED, failure=failure, queue=job.queue, worker=by, at=utcnow()
    )
    return Envelope(sent.body, headers, sent.properties, sent.content_type, sent.content_encoding)


def _due(job: DelayedJob) -> datetime:
    return job.due or datetime.max.replace(tzinfo=UTC)


__all__ = ["DelayedJob", "cancel", "find", "hand_over", "queues", "run_now", "soonest"]
