"""Cancelling jobs that wait in an outbox, before those that the history has.

A portion claims its rows first, so no relay publishes them meanwhile. A job that a relay publishes at this moment is
left to the history, which learns of it. So each job counts once.
"""

from __future__ import annotations

from collections import Counter

from ...domain.job import JobState
from ...journal import Target
from ...observe.jobs import Filters
from ...outbox import cancelling as outbox
from ...services import Services
from ...store.bulk_actions import Position, Progress, Step
from ..dropping import drop
from .portion import Portion

PUBLISHED_NOW = 1.0
"""Seconds until the next look, if relays publish all jobs that were found."""


def count(services: Services, wanted: Filters) -> int:
    """The number of jobs in outboxes that meet ``wanted``."""
    found = _in_outbox(wanted, None)
    return 0 if found is None else sum(outbox.count(store, found) for store in services.outboxes)


def carry_out(portion: Portion, wanted: Filters) -> bool:
    """Cancel the next jobs, at most a portion; False if there is none."""
    action, services = portion.action, portion.services
    found = _in_outbox(wanted, action.last)
    if found is None or action.reached is not None:
        return False
    targets: list[Target] = []
    name = claimant(action.id)
    for store in services.outboxes:
        rows = outbox.claim(store, found, portion.size - len(targets), name)
        targets += [Target(job_id, task, queue, JobState.QUEUED) for job_id, task, queue in rows]
        if len(targets) >= portion.size:
            break
    if not targets:
        return False
    done = 0
    for some in portion.steps(targets):
        portion.begin(Step([each.job_id for each in some], None, {}))
        removed = len(drop(services, some, kill=False, by=action.by, claimed_by=name).removed)
        portion.note(_progress(removed))
        done += removed
    portion.finish_alone(_progress(0, rest=done / action.rate if done else PUBLISHED_NOW))
    return True


def claimant(action_id: str) -> str:
    """The name under which a bulk action claims rows of an outbox."""
    return f"bulk.{action_id}"


def _in_outbox(wanted: Filters, last: Position | None) -> outbox.Wanted | None:
    """The rows that may meet ``wanted``; None if no job of an outbox can, because the conditions need the history."""
    others = (wanted.worker, wanted.error, wanted.tag, wanted.search, wanted.since, wanted.until)
    if any(others) or wanted.state not in (None, JobState.QUEUED):
        return None
    return outbox.Wanted(wanted.task, wanted.queue, None if last is None else last.at)


def _progress(done: int, *, rest: float = 0.0) -> Progress:
    return Progress(None, done, Counter(), ended=False, rest=rest)


__all__ = ["carry_out", "claimant", "count"]
