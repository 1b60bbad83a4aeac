"""Portions of bulk actions on jobs that have not ended, the latest enqueued first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, select

from ...domain.job import JobState, utcnow
from ...domain.tombstones import MOST as MOST_TOMBSTONES
from ...errors import ConfigurationError
from ...journal import Target
from ...observe import jobs as listed
from ...observe.job_keys import Key
from ...observe.jobs import Filters, ListedJob
from ...services import Services
from ...store.bulk_actions import Position, Progress
from ...store.tables import jobs, tags
from ..cancelling import busy_workers, cannot_kill
from ..delayed import NOT_DELAYED, Known, hold, run_known
from ..dropping import drop
from . import delayed, unpublished
from .portion import NotUnderstood, Portion, restored

FULL = 3.0
"""Seconds until the next look whether workers have met enough cancelled jobs."""
READ_SECONDS = 10.0
_STATES = {
    "cancel": (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING),
    "run": (JobState.QUEUED, JobState.RETRYING),
}
"""The states of jobs on which each action acts."""
_BEYOND = "~"
"""After each id that begins with the same characters."""


@dataclass(frozen=True, slots=True)
class Unended(Filters):
    """Conditions for jobs in some states."""

    states: tuple[JobState, ...] = ()

    def conditions(self, columns: Any) -> list[Any]:
        """Those of the filters, and one for the states."""
        return [*Filters.conditions(self, columns), columns.state.in_(self.states)]


def extent(services: Services, action: str, filters: Filters) -> tuple[int, Position | None]:
    """The number of jobs on which ``action`` would act, and the latest of them by time and id."""
    wanted = _wanted(action, filters)
    if action == "run":
        hold(services)
        if delayed.fits(services, filters):
            return delayed.extent(services, filters)
    conditions = [*wanted.conditions(jobs.c), *_others(wanted)]
    if action == "run":
        conditions.append(jobs.c.due_at > utcnow())
    latest = select(jobs.c.enqueued_at, jobs.c.id).where(*conditions)
    latest = latest.order_by(jobs.c.enqueued_at.desc().nulls_last(), jobs.c.id.desc()).limit(1)
    with services.store.read(timeout=READ_SECONDS) as connection:
        count = int(
            connection.execute(select(func.count()).select_from(jobs).where(*conditions)).scalar_one()
        )
        row = connection.execute(latest).one_or_none()
    waiting = unpublished.count(services, wanted) if action == "cancel" else 0
    if waiting:
        return count + waiting, Position(utcnow(), _BEYOND)
    return count, None if row is None else Position(row.enqueued_at, row.id)


def carry_out(portion: Portion) -> None:
    """Cancel or run the next jobs."""
    action = portion.action
    if action.action not in _STATES:
        raise NotUnderstood(f"this version does not know the action {action.action}")
    if action.last is None:
        portion.finish_alone(Progress(None, 0, {}, ended=True, rest=0.0))
        return
    filters = restored(Filters, action.filters)
    wanted = _wanted(action.action, filters)
    if action.action == "run" and delayed.fits(portion.services, filters):
        delayed.carry_out(portion, filters)
        return
    if action.action == "cancel":
        if _is_full(portion.services, portion.size):
            portion.finish_alone(Progress(None, 0, {}, ended=False, rest=FULL))
            return
        if unpublished.carry_out(portion, wanted):
            return
    begin = action.reached or Position(action.last.at, action.last.id + _BEYOND)
    page = listed.page(portion.services.store, wanted, limit=portion.size, after=_after(begin))
    act = _run_now if action.action == "run" else _cancel
    met = done = 0
    for some in portion.steps(page.jobs):
        acted, why = act(portion, some)
        portion.note(Progress(_place(some[-1]), acted, why, ended=False, rest=0.0))
        met, done = met + len(some), done + acted
    left = met < len(page.jobs)
    reached = _place(page.jobs[met - 1]) if left else _position(page)
    ended = page.after is None and not left
    portion.finish_alone(Progress(reached, 0, {}, ended=ended, rest=done / action.rate))


def _cancel(portion: Portion, found: Sequence[ListedJob]) -> tuple[int, Counter[str]]:
    services, kill = portion.services, bool(portion.action.options.get("kill"))
    targets = [Target(job.id, job.task, job.queue, job.state, job.due_at) for job in found]
    why = Counter[str]()
    if kill:
        busy = busy_workers(services)
        reasons = {target.job_id: cannot_kill(busy.get(target.job_id)) for target in targets}
        why.update(reason for reason in reasons.values() if reason)
        targets = [target for target in targets if not reasons[target.job_id]]
    if targets:
        drop(services, targets, kill=kill, by=portion.action.by)
    return len(targets), why


def _run_now(portion: Portion, found: Sequence[ListedJob]) -> tuple[int, Counter[str]]:
    now = utcnow()
    delayed = [
        Known(job.id, job.queue, job.due_at) for job in found if job.due_at is not None and job.due_at > now
    ]
    done = run_known(portion.services, delayed)
    return done, +Counter({NOT_DELAYED: len(delayed) - done})


def _wanted(action: str, filters: Filters) -> Unended:
    states = _STATES[action]
    if filters.state is not None:
        if filters.state not in states:
            allowed = ", ".join(states)
            raise ConfigurationError("state", str(filters.state), f"{action} acts on jobs that are {allowed}")
        states = (JobState(filters.state),)
    return Unended(**{each.name: getattr(filters, each.name) for each in fields(Filters)}, states=states)


def _others(wanted: Filters) -> list[Any]:
    """The conditions that ``Filters.conditions`` leaves to the list of jobs."""
    found: list[Any] = []
    if wanted.tag is not None:
        found.append(select(tags.c.tag).where(tags.c.job_id == jobs.c.id, tags.c.tag == wanted.tag).exists())
    if wanted.since is not None:
        found.append(jobs.c.enqueued_at >= wanted.since)
    if wanted.until is not None:
        found.append(jobs.c.enqueued_at < wanted.until)
    return [*found, *listed.searched(wanted)]


def _is_full(services: Services, more: int) -> bool:
    """Whether workers remember as many cancelled jobs as they can, until they have met some."""
    return services.orders.count_tombstones() + more > MOST_TOMBSTONES


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
