"""Running delayed jobs now, by their rows in the history, the soonest due first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, or_, select, tuple_

from ...domain.job import utcnow
from ...services import Services
from ...store.bulk_actions import Position, Progress, Step
from ...store.tables import jobs
from ...store.types import KeyText, UtcDateTime
from ..delayed import NOT_DELAYED, Known, run_known
from .portion import Portion
from .unended import Unended, others

READ_SECONDS = 10.0
MOST_COUNTED = 1_000_000
"""Jobs after which a count stops."""
BEYOND = "~"
"""After each id that begins with the same characters."""


def extent(services: Services, wanted: Unended) -> tuple[int, Position | None]:
    """The number of delayed jobs that are ``wanted``, and a position after all of them."""
    now = utcnow()
    found = select(literal(1)).where(*_conditions(wanted, now)).limit(MOST_COUNTED).subquery()
    with services.store.read(timeout=READ_SECONDS) as connection:
        count = int(connection.execute(select(func.count()).select_from(found)).scalar_one())
    return count, Position(now, BEYOND) if count else None


def carry_out(portion: Portion, wanted: Unended, last: Position) -> None:
    """Run the next jobs: those that were enqueued up to ``last``, and whose last attempt began before the action."""
    action = portion.action
    found = _page(portion, wanted, last)
    met = done = 0
    for some in portion.steps(found):
        portion.begin(Step([row.id for row in some], _place(some[-1]), {}))
        acted = run_known(portion.services, [Known(row.id, row.queue, row.due_at) for row in some])
        why = +Counter({NOT_DELAYED: len(some) - acted})
        portion.note(Progress(_place(some[-1]), acted, why, ended=False, rest=0.0))
        met, done = met + len(some), done + acted
    ended = met == len(found) < portion.size
    portion.finish_alone(Progress(None, 0, {}, ended=ended, rest=done / action.rate))


def those(portion: Portion, wanted: Unended, job_ids: Sequence[str]) -> list[Known]:
    """Those of ``job_ids`` that still wait for their time, and have not begun since the action was planned."""
    conditions = [*_unbegun(portion, wanted), jobs.c.id.in_(job_ids)]
    query = select(jobs.c.id, jobs.c.queue, jobs.c.due_at).where(*conditions)
    with portion.services.store.read(timeout=READ_SECONDS) as connection:
        return [Known(row.id, row.queue, row.due_at) for row in connection.execute(query)]


def _unbegun(portion: Portion, wanted: Unended) -> list[Any]:
    begun = or_(jobs.c.started_at.is_(None), jobs.c.started_at <= portion.action.created_at)
    return [*_conditions(wanted, utcnow()), begun]


def _page(portion: Portion, wanted: Unended, last: Position) -> Sequence[Any]:
    action, conditions = portion.action, _unbegun(portion, wanted)
    in_set = [tuple_(jobs.c.enqueued_at, jobs.c.id) <= _key(last)] if last.at is not None else []
    conditions.append(or_(jobs.c.enqueued_at.is_(None), *in_set))
    if action.reached is not None and action.reached.at is not None:
        conditions.append(tuple_(jobs.c.due_at, jobs.c.id) > _key(action.reached))
    query = select(jobs.c.id, jobs.c.queue, jobs.c.due_at).where(*conditions)
    with portion.services.store.read(timeout=READ_SECONDS) as connection:
        return connection.execute(query.order_by(jobs.c.due_at, jobs.c.id).limit(portion.size)).all()


def _conditions(wanted: Unended, now: datetime) -> list[Any]:
    """Conditions for which databases take the index of due times: that of states has all jobs that wait in line."""
    in_state = func.coalesce(jobs.c.state, "").in_(wanted.states)
    filters = super(Unended, replace(wanted, state=None)).conditions(jobs.c)
    return [in_state, jobs.c.due_at > now, *filters, *others(wanted)]


def _key(position: Position) -> Any:
    return tuple_(literal(position.at, UtcDateTime()), literal(position.id, KeyText()))


def _place(row: Any) -> Position:
    return Position(row.due_at, row.id)


__all__ = ["carry_out", "extent", "those"]
