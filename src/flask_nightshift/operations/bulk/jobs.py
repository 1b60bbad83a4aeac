"""Portions of bulk actions on jobs that have not ended: of cancellations, the latest enqueued first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...domain.job import utcnow
from ...domain.tombstones import MOST as MOST_TOMBSTONES
from ...journal import Target
from ...observe import job_counts
from ...observe import jobs as listed
from ...observe.job_keys import Key
from ...observe.jobs import Filters, ListedJob
from ...services import Services
from ...store.bulk_actions import Position, Progress, Step
from ..cancelling import busy_workers, cannot_kill
from ..delayed import hold
from ..dropping import drop
from . import delayed, recorded, repeated, unended, unpublished
from .portion import NotUnderstood, NotYet, Portion, restored


def extent(services: Services, action: str, filters: Filters) -> tuple[int, Position | None]:
    """The number of jobs on which ``action`` would act, and the latest of them by time and id."""
    wanted = unended.wanted(action, filters)
    if action == "run":
        hold(services)
        return (
            delayed.extent(services, filters)
            if delayed.fits(services, filters)
            else recorded.extent(services, wanted)
        )
    count = job_counts.count(services.store, wanted, limit=recorded.MOST_COUNTED).number
    latest = listed.page(services.store, wanted, limit=1).jobs
    waiting = unpublished.count(services, wanted)
    if waiting:
        return count + waiting, Position(utcnow(), recorded.BEYOND)
    return count, _place(latest[0]) if latest else None


def carry_out(portion: Portion) -> None:
    """Cancel or run the next jobs."""
    action = portion.action
    if action.action not in unended.STATES:
        raise NotUnderstood(f"this version does not know the action {action.action}")
    if action.last is None:
        portion.finish_alone(Progress(None, 0, {}, ended=True, rest=0.0))
        return
    filters = restored(Filters, action.filters)
    wanted = unended.wanted(action.action, filters)
    if action.step is not None:
        repeated.carry_out(portion, action.step, filters, wanted)
        return
    if action.action == "run":
        if delayed.fits(portion.services, filters):
            delayed.carry_out(portion, filters)
        else:
            recorded.carry_out(portion, wanted, action.last)
        return
    _require_room(portion.services, portion.size)
    if unpublished.carry_out(portion, wanted):
        return
    begin = action.reached or Position(action.last.at, action.last.id + recorded.BEYOND)
    page = listed.page(portion.services.store, wanted, limit=portion.size, after=_after(begin))
    met = done = 0
    for some in portion.steps(page.jobs):
        targets, why = _targets(portion, some)
        place = _place(some[-1])
        portion.begin(Step([each.job_id for each in targets], place, why))
        if targets:
            drop(portion.services, targets, kill=bool(action.options.get("kill")), by=action.by)
        portion.note(Progress(place, len(targets), why, ended=False, rest=0.0))
        met, done = met + len(some), done + len(targets)
    left = met < len(page.jobs)
    reached = _place(page.jobs[met - 1]) if left else _position(page)
    ended = page.after is None and not left
    portion.finish_alone(Progress(reached, 0, {}, ended=ended, rest=done / action.rate))


def _targets(portion: Portion, found: Sequence[ListedJob]) -> tuple[list[Target], Counter[str]]:
    """The jobs to cancel, and why others are left alone."""
    targets = [Target(job.id, job.task, job.queue, job.state, job.due_at, job.worker) for job in found]
    if not portion.action.options.get("kill"):
        return targets, Counter()
    busy = busy_workers(portion.services, targets)
    reasons = {target.job_id: cannot_kill(busy.get(target.job_id)) for target in targets}
    why = Counter(reason for reason in reasons.values() if reason)
    return [target for target in targets if not reasons[target.job_id]], why


def _require_room(services: Services, more: int) -> None:
    """Raise ``NotYet`` if workers remember as many cancelled jobs as they can, until they have met some."""
    noted = services.orders.count_tombstones()
    if noted + more > MOST_TOMBSTONES:
        raise NotYet(
            f"workers have not met {noted:,} cancelled jobs yet, and they remember {MOST_TOMBSTONES:,} at most: it "
            "goes on when they have met some"
        )


def _after(position: Position) -> str:
    """The key of the page that begins after ``position``."""
    return listed.key_of_page(Key(position.at, position.id))


def _position(page: listed.Page) -> Position | None:
    if page.after is not None:
        return Position(*listed.key_from(page.after))
    return _place(page.jobs[-1]) if page.jobs else None


def _place(job: ListedJob) -> Position:
    return Position(job.enqueued_at, job.id)


__all__ = ["carry_out", "extent"]
