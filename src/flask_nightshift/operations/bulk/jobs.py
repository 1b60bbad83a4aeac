"""Portions of bulk actions on jobs that have not ended, the latest enqueued first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, select

from ...domain.job import JobState, utcnow
from ...domain.tombstones import MOST as MOST_TOMBSTONES
from ...errors import ConfigurationError
from ...journal import Target
from ...observe import jobs as listed
from ...observe.job_keys import Key
from ...observe.jobs import Filters, ListedJob
from ...outbox import cancelling as outbox
from ...services import Services
from ...store.bulk_actions import Position, Progress
from ...store.tables import jobs, tags
from ..cancelling import busy_workers, cannot_kill
from ..delayed import hold
from ..dropping import drop
from . import delayed
from .portion import NotUnderstood, Portion, restored

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

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
    unpublished = _in_outboxes(services, wanted, None) if action == "cancel" else []
    if row is None:
        return len(unpublished), Position(utcnow(), _BEYOND) if unpublished else None
    last = Position(row.enqueued_at, row.id)
    return count + len(unpublished), Position(utcnow(), _BEYOND) if unpublished else last


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
    after = (
        _after(action.reached)
        if action.reached
        else _after(Position(action.last.at, action.last.id + _BEYOND))
    )
    page = listed.page(portion.services.store, wanted, limit=portion.size, after=after)
    reached = _position(page)
    found: Sequence[ListedJob] = page.jobs
    if action.action == "run":
        done, why = _run_now(portion, found)
    else:
        targets = [Target(job.id, job.task, job.queue, job.state, job.due_at) for job in found]
        if action.reached is None:
            known = {target.job_id for target in targets}
            waiting = _in_outboxes(portion.services, wanted, action.last)
            targets += [target for target in waiting if target.job_id not in known]
        if _is_full(portion.services, len(targets)):
            portion.finish_alone(Progress(None, 0, {}, ended=False, rest=FULL))
            return
        done, why = _cancel(portion, targets)
    portion.finish_alone(Progress(reached, done, why, ended=page.after is None, rest=done / action.rate))


def _cancel(portion: Portion, targets: list[Target]) -> tuple[int, Counter[str]]:
    services, kill = portion.services, bool(portion.action.options.get("kill"))
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
    places = hold(portion.services)
    now, done, why = utcnow(), 0, Counter[str]()
    for job in found:
        if job.due_at is None or job.due_at <= now:
            continue
        if places.run_now(job.queue, job.id):
            done += 1
        else:
            why["it is not delayed (any more)"] += 1
    return done, why


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


def _in_outboxes(services: Services, wanted: Filters, last: Position | None) -> list[Target]:
    """Jobs that wait in an outbox, of which the history does not know yet."""
    others = (wanted.worker, wanted.error, wanted.tag, wanted.search, wanted.since, wanted.until)
    if any(others) or wanted.state not in (None, JobState.QUEUED):
        return []
    before = last.at if last is not None else None
    return [
        Target(job_id, task, queue, JobState.QUEUED)
        for store in services.outboxes
        for job_id, task, queue in outbox.waiting(store, None, None, before, MOST_TOMBSTONES)
        if wanted.admits(cast("RowMapping", {"state": "queued", "task": task, "queue": queue}))
    ]


def _is_full(services: Services, more: int) -> bool:
    """Whether workers remember as many cancelled jobs as they can, until they have met some."""
    return services.orders.count_tombstones() + more > MOST_TOMBSTONES


def _after(position: Position) -> str:
    """The key of the page that begins after ``position``."""
    return listed.key_of_page(Key(position.at, position.id))


def _position(page: listed.Page) -> Position | None:
    if page.after is not None:
        return Position(*listed.key_from(page.after))
    return Position(page.jobs[-1].enqueued_at, page.jobs[-1].id) if page.jobs else None


__all__ = ["carry_out", "extent"]
