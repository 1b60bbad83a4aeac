"""Reads a job and the jobs that it is connected with: upwards to the root, downwards, and its group and chord."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select

from ..domain.job import JobState
from ..domain.relatives import ENDED, Family, Parts, Relative
from ..store import Store
from ..store.tables import jobs, relations

MOST = 100
"""Relatives that are read."""
SHOWN = 5
"""Open and dead parts of a chord that are named."""
_DEEPEST = 12
_COLUMNS = ("parent_id", "root_id", "group_id", "chord_id", "chord_size", "origin_id")


def find_family(store: Store, job_id: str) -> Family | None:
    """The job with its relatives; None if neither a record nor an announcement of it is there.

    Raises ``DatabaseUnavailable``.
    """
    with store.read() as connection:
        this = _read(connection, relations.c.job_id == job_id, [job_id]).get(job_id)
        if this is None:
            return None
        members = {job_id: this}
        _climb(connection, this, members)
        if this.group_id and not this.chord_id:
            _add(connection, members, relations.c.group_id == this.group_id)
        _descend(connection, members)
        return Family(this, members, _parts(connection, this), _copies(connection, job_id))


def _copies(connection: Connection, job_id: str) -> tuple[str, ...]:
    """The ids of its first copies."""
    query = select(relations.c.job_id).where(relations.c.origin_id == job_id)
    return tuple(connection.execute(query.order_by(relations.c.at, relations.c.job_id).limit(MOST)).scalars())


def announced(store: Store, given: str, limit: int) -> list[str]:
    """Up to ``limit`` ids of jobs that are announced and not recorded: ``given``, or those with it as start or end.

    Raises ``DatabaseUnavailable``.
    """
    key = relations.c.job_id
    unrecorded = ~select(jobs.c.id).where(jobs.c.id == key).exists()
    part = or_(key.startswith(given, autoescape=True), key.endswith(given, autoescape=True))
    with store.read() as connection:
        for condition in (key == given, part):
            query = select(key).where(condition, unrecorded).order_by(relations.c.at.desc()).limit(limit)
            if found := list(connection.execute(query).scalars()):
                return found
    return []


def _climb(connection: Connection, this: Relative, members: dict[str, Relative]) -> None:
    """Read its parents up to the root, and the bodies of the chords on the way.

    The history does not know the parent of a body that ``celery.chord_unlock`` enqueued: its parts lead upwards.
    """
    level = [this]
    for _ in range(_DEEPEST):
        wanted = {each for one in level for each in (one.parent_id, one.chord_id) if each} - members.keys()
        if not wanted:
            return
        found = _read(connection, relations.c.job_id.in_(sorted(wanted)), wanted)
        orphans = [one.job_id for one in level if one.parent_id and one.parent_id in wanted - found.keys()]
        if orphans:
            parts = _read(connection, relations.c.chord_id.in_(orphans), (), SHOWN)
            found |= {job_id: part for job_id, part in parts.items() if job_id not in members}
        members.update(found)
        level = list(found.values())


def _descend(connection: Connection, members: dict[str, Relative]) -> None:
    """Read the parts of chords, their bodies, and the children of all members, level by level."""
    looked: set[str] = set()
    for _ in range(_DEEPEST):
        level = sorted(members.keys() - looked)
        if not level or len(members) >= MOST:
            return
        looked |= members.keys()
        bodies = sorted({body for each in level if (body := members[each].chord_id)} - members.keys())
        below = or_(relations.c.parent_id.in_(level), relations.c.chord_id.in_(level))
        _add(connection, members, or_(below, relations.c.job_id.in_(bodies)) if bodies else below)


def _add(connection: Connection, members: dict[str, Relative], which: ColumnElement[bool]) -> None:
    room = MOST - len(members)
    if room > 0:
        for job_id, one in _read(connection, which, (), room).items():
            members.setdefault(job_id, one)


def _read(
    connection: Connection, which: ColumnElement[bool], ids: Collection[str], limit: int = MOST
) -> dict[str, Relative]:
    """The relatives in ``which`` rows of relations, and the jobs ``ids`` that have none."""
    query = select(relations).where(which).order_by(relations.c.job_id).limit(limit)
    related = {row.job_id: row for row in connection.execute(query)}
    wanted = sorted({*related, *ids})
    columns = (jobs.c.id, jobs.c.task, jobs.c.state, jobs.c.worker, jobs.c.due_at)
    known = {row.id: row for row in connection.execute(select(*columns).where(jobs.c.id.in_(wanted)))}
    there = [job_id for job_id in wanted if job_id in related or job_id in known]
    return {job_id: _relative(job_id, related.get(job_id), known.get(job_id)) for job_id in there}


def _relative(job_id: str, related: Any, known: Any) -> Relative:
    links = {name: getattr(related, name) for name in _COLUMNS} if related is not None else {}
    if known is None:
        return Relative(job_id, related.task or "", **links)
    task = known.task or (related.task if related is not None else "") or ""
    return Relative(job_id, task, JobState(known.state), worker=known.worker, due_at=known.due_at, **links)


def _parts(connection: Connection, body: Relative) -> Parts | None:
    mine = relations.c.chord_id == body.job_id
    joined = relations.outerjoin(jobs, jobs.c.id == relations.c.job_id)
    counted = select(jobs.c.state, func.count()).select_from(joined).where(mine).group_by(jobs.c.state)
    counts = {state: int(count) for state, count in connection.execute(counted)}
    if not counts:
        return None
    by_state = {JobState(state): count for state, count in counts.items() if state is not None}
    is_open = or_(jobs.c.state.is_(None), not_(jobs.c.state.in_(ENDED)))

    def some(which: ColumnElement[bool]) -> tuple[Relative, ...]:
        query = select(relations.c.job_id).select_from(joined).where(and_(mine, which))
        ids = list(connection.execute(query.order_by(relations.c.job_id).limit(SHOWN)).scalars())
        return tuple(_read(connection, relations.c.job_id.in_(ids), ids).values()) if ids else ()

    size = max(body.chord_size or 0, sum(counts.values()))
    return Parts(size, by_state, some(is_open), some(jobs.c.state == JobState.DEAD))


__all__ = ["announced", "find_family"]
