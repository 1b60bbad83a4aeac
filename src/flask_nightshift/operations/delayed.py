"""Actions on single delayed jobs, for brokers that can list them (``Capabilities.lists_delayed``).

All functions raise ``Unsupported`` for other brokers, and ``BrokerUnavailable``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .. import journal
from ..brokers.base import DelayedJobs
from ..brokers.values import DelayedJob, Dues, TakenInPart
from ..errors import DatabaseUnavailable, Unsupported
from ..services import Services
from . import ids
from .dropping import settle
from .partly import telling

NOT_DELAYED = "it is not delayed (any more)"


class Known(NamedTuple):
    """A job that was seen in ``queue``, where it is due at ``due``; there it is looked for first."""

    job_id: str
    queue: str
    due: datetime


def queues(services: Services, queue: str | None) -> Sequence[str]:
    """The queues in which to look: ``queue``, or all that the configuration or a task names."""
    hold(services)
    return (queue,) if queue else services.queues()


def soonest(services: Services, queues: Sequence[str], limit: int) -> list[DelayedJob]:
    """Up to ``limit`` delayed jobs of ``queues``, the soonest first."""
    delayed = hold(services)
    return sorted((job for queue in queues for job in delayed.soonest(queue, limit)), key=_due)[:limit]


def following(
    services: Services, queues: Sequence[str], limit: int, after: tuple[datetime, str] | None
) -> list[DelayedJob]:
    """Up to ``limit`` delayed jobs of ``queues`` by time and id, those that follow the time and id ``after``."""
    delayed = hold(services)
    found = (job for queue in queues for job in delayed.following(queue, limit, after))
    return sorted(found, key=lambda job: (_due(job), job.job_id))[:limit]


def find(services: Services, queue: str | None, given: Sequence[str]) -> list[str]:
    """The ids of the delayed jobs of ``queue``, or of all queues, that ``given`` means: ids, their starts or ends.

    An id that no delayed job has is returned as it is. Raises ``JobNotFound`` if a part fits several jobs.
    """
    delayed, names = hold(services), queues(services, queue)
    whole = {target.job_id for target in _recorded(services, given)}
    for name in names:
        if others := dict.fromkeys(each for each in given if each not in whole):
            whole |= {job.job_id for job in delayed.find(name, others)}
    return [each if each in whole else ids.delayed_id(delayed, names, each) for each in given]


def cancel(services: Services, queue: str | None, job_ids: Collection[str], *, by: str) -> dict[str, str]:
    """Take the jobs out of ``queue``, or of the queues that they are in, before they start.

    They are recorded as cancelled; ``by`` names who did it. Returns the queue of each job that was delayed there. Jobs
    in any other place: ``operations/cancelling.py``.
    """
    delayed, taken = hold(services), dict[str, DelayedJob]()

    def take(name: str, wanted: Dues) -> list[str]:
        try:
            found: Sequence[DelayedJob] = delayed.take(name, wanted)
        except TakenInPart as exc:
            taken.update({job.job_id: job for job in exc.taken})
            raise
        taken.update({job.job_id: job for job in found})
        return [job.job_id for job in found]

    try:
        with telling(taken, "job", "cancelled"):
            _everywhere(services, queue, job_ids, (), take)
    finally:
        if taken:
            settle(services, [(job.queue, job.envelope) for job in taken.values()], f"cancelled by {by}")
    return {job_id: job.queue for job_id, job in taken.items()}


def run_now(
    services: Services, queue: str | None, job_ids: Collection[str], known: Iterable[Known] = ()
) -> dict[str, str]:
    """Put the jobs at the head of ``queue``, or of the queues that they are in.

    ``known``: where they were seen. Returns the queue of each job that was delayed there.
    """
    delayed, moved = hold(services), dict[str, str]()

    def run(name: str, wanted: Dues) -> list[str]:
        found = delayed.run_now(name, wanted)
        moved.update(dict.fromkeys(found, name))
        return found

    with telling(moved, "job", "moved to the head of the queue"):
        _everywhere(services, queue, job_ids, known, run)
    return moved


def run_known(services: Services, known: Iterable[Known]) -> int:
    """Put the jobs at the head of their queues; returns the number of those that were where they were seen."""
    delayed = hold(services)
    return sum(len(delayed.run_now(name, dues)) for name, dues in _by_queue(known).items())


def message(services: Services, job_id: str) -> DelayedJob | None:
    """The delayed job with its message; None if it is not delayed, or the broker cannot list delayed jobs."""
    delayed = services.broker.delayed_jobs()
    if delayed is None:
        return None
    found: dict[str, DelayedJob] = {}

    def look(name: str, wanted: Dues) -> list[str]:
        found.update({job.job_id: job for job in delayed.find(name, wanted)})
        return list(found)

    _everywhere(services, None, [job_id], (), look)
    return found.get(job_id)


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
            "and Valkey with NIGHTSHIFT_REDIS_TRANSPORT=lease. `flask jobs stats` counts them where it can, and "
            "the dashboard and `GET /due` of the HTTP API list those that the history knows."
        )
    return delayed


def _everywhere(
    services: Services,
    queue: str | None,
    job_ids: Collection[str],
    known: Iterable[Known],
    act: Callable[[str, Dues], Iterable[str]],
) -> None:
    """Call ``act(queue, jobs)`` where the jobs should be, then once for each queue with those that were not there.

    ``act`` returns the ids of those that were.
    """
    places = {each.job_id: each for each in known}
    recorded = _recorded(services, [each for each in job_ids if each not in places])
    places |= {
        each.job_id: Known(each.job_id, each.queue, each.due) for each in recorded if each.due is not None
    }
    seen = [places[each] for each in job_ids if each in places and queue in (None, places[each].queue)]
    done: set[str] = set()
    for name, dues in _by_queue(seen).items():
        done.update(act(name, dues))
    others = [each.queue for each in recorded if each.queue] if queue is None else []
    for name in dict.fromkeys([*queues(services, queue), *others]):
        if left := dict.fromkeys(each for each in job_ids if each not in done):
            done.update(act(name, left))


def _by_queue(known: Iterable[Known]) -> dict[str, dict[str, datetime]]:
    found: dict[str, dict[str, datetime]] = {}
    for each in known:
        found.setdefault(each.queue, {})[each.job_id] = each.due
    return found


def _recorded(services: Services, job_ids: Sequence[str]) -> list[journal.Target]:
    """What the history knows of the jobs; nothing while the database is away."""
    try:
        return journal.targets(services.store, job_ids)
    except DatabaseUnavailable:
        return []


def _due(job: DelayedJob) -> datetime:
    return job.due or datetime.max.replace(tzinfo=UTC)


__all__ = [
    "NOT_DELAYED", "DelayedJob", "Known", "cancel", "find", "following", "hand_over", "hold", "message", "queues",
    "run_known", "run_now", "soonest",
]  # fmt: skip
