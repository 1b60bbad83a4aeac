"""Actions on single delayed jobs, for brokers that can list them (``Capabilities.lists_delayed``).

All functions raise ``Unsupported`` for other brokers, and ``BrokerUnavailable``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ..brokers.base import DelayedJobs
from ..brokers.values import DelayedJob
from ..errors import Unsupported
from ..services import Services
from . import ids
from .dropping import settle


def queues(services: Services, queue: str | None) -> Sequence[str]:
    """The queues in which to look: ``queue``, or all that the configuration or a task names."""
    hold(services)
    return (queue,) if queue else services.queues()


def soonest(services: Services, queues: Sequence[str], limit: int) -> list[DelayedJob]:
    """Up to ``limit`` delayed jobs of ``queues``, the soonest first."""
    delayed = hold(services)
    return sorted((job for queue in queues for job in delayed.soonest(queue, limit)), key=_due)[:limit]


def find(services: Services, queues: Sequence[str], given: Sequence[str]) -> list[str]:
    """The ids of the delayed jobs that ``given`` means, each an id, its start or its end.

    An id that no delayed job has is returned as it is. Raises ``JobNotFound`` if a part fits several jobs.
    """
    delayed = hold(services)
    return [ids.delayed_id(delayed, queues, each) for each in given]


def cancel(services: Services, queues: Sequence[str], job_id: str, *, by: str) -> str | None:
    """Take the job out of its queue before it starts, and return that queue; it is recorded as cancelled.

    Returns None if the job is not delayed in ``queues`` (any more). ``by`` names who cancelled it. Jobs in any other
    place: ``operations/cancelling.py``.
    """
    delayed = hold(services)
    taken = next((job for queue in queues if (job := delayed.take(queue, job_id))), None)
    if taken is None:
        return None
    settle(services, [(taken.queue, taken.envelope)], f"cancelled by {by}")
    return taken.queue


def run_now(services: Services, queues: Sequence[str], job_id: str) -> str | None:
    """Put the job at the head of its queue, and return that; None if it is not delayed in ``queues`` (any more)."""
    delayed = hold(services)
    return next((queue for queue in queues if delayed.run_now(queue, job_id)), None)


def hand_over(services: Services, queue: str) -> int:
    """Leave the delayed jobs of ``queue``, with their times, to workers of plain Celery; returns their number.

    Stop the workers of the lease transport first; they would take the jobs back.
    """
    return hold(services).hand_over(queue)


def hold(services: Services) -> DelayedJobs:
    """The broker's delayed jobs, one by one."""
    delayed = services.broker.delayed_jobs()
    if delayed is None:
        raise Unsupported(
            f"{services.broker.url} keeps delayed jobs where they cannot be seen one by one: that works on Redis "
            "and Valkey with NIGHTSHIFT_REDIS_TRANSPORT=lease. `flask jobs stats` counts them where it can."
        )
    return delayed


def _due(job: DelayedJob) -> datetime:
    return job.due or datetime.max.replace(tzinfo=UTC)


__all__ = ["DelayedJob", "cancel", "find", "hand_over", "hold", "queues", "run_now", "soonest"]
