"""Delete the jobs that are older than their state's time in the history, with all that belongs to them.

The jobs of each state are read in the order of an index, a page at a time, and each page is judged again in the
transaction that deletes it. So no statement reads more than a page, however many jobs are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, Text, and_, delete, exists, func, or_, select, type_coerce

from ..domain.job import FINISHED
from ..store import Store
from ..store.tables import attempts, jobs, relations, tags
from ..store.tables import dead_letters as letters
from . import told
from .steps import SECONDS, Pace, judged

KEEP_UNFINISHED = timedelta(days=30)
"""How much longer than any finished job to keep one whose end was never reported."""
BELONGING: tuple[Table, ...] = (attempts, relations, tags)
"""The tables whose rows belong to a job, by its ``job_id``."""
DECIDED = ("replayed", "discarded")
"""The states of a dead letter that waits for nothing."""


def prune_jobs(store: Store, pace: Pace, now: datetime, keep: Mapping[str, float]) -> dict[str, int]:
    """Delete old jobs; ``keep``: days by state. Returns the numbers of ``jobs`` and ``attempts``."""
    counts = {"jobs": 0, "attempts": 0}
    for state in _states(store):
        for ids, weights, old in _pages(store, pace, state, _limit(now, state, keep)):
            pace.work(store, ids, partial(_delete, counts, old), weights)
    return counts


def _limit(now: datetime, state: str, keep: Mapping[str, float]) -> datetime:
    """The time before which jobs of ``state`` are old."""
    if state in keep:
        return now - timedelta(days=keep[state])
    return now - timedelta(days=max(keep.values())) - KEEP_UNFINISHED


def _states(store: Store) -> Iterator[str]:
    """The states that jobs have, each found in an index; an older or newer version may know others than this one."""
    last = ""
    while True:
        query = select(func.min(jobs.c.state, type_=jobs.c.state.type)).where(jobs.c.state > last)
        with store.read(timeout=SECONDS) as connection:
            state = connection.execute(query).scalar()
        if state is None:
            return
        yield state
        last = state


def _pages(
    store: Store, pace: Pace, state: str, before: datetime
) -> Iterator[tuple[Sequence[str], Sequence[int], Any]]:
    """The ids of the old jobs of ``state``, a page at a time, how heavy each is, and the condition that makes them old.

    A job with ten attempts, each with a long traceback, takes a hundred times as long as one without.
    """
    at = (jobs.c.updated_at, _stored(jobs.c.id))
    old = and_(jobs.c.state == state, jobs.c.updated_at < before)
    query = select(*at, jobs.c.attempts).where(old, *_due(state, before)).order_by(*at)
    after: Any = None
    while True:
        further = [] if after is None else [_is_after(after)]
        with store.read(timeout=SECONDS) as connection:
            page = connection.execute(query.where(*further).limit(pace.rows)).all()
        if not page:
            return
        yield [row[1] for row in page], [1 + row[2] for row in page], and_(old, *_kept_for_others(state))
        after = page[-1][:2]


def _is_after(row: Any) -> Any:
    moment, job_id = row
    later = and_(jobs.c.updated_at == moment, _stored(jobs.c.id) > job_id)
    # the first condition is what an index can find
    return and_(jobs.c.updated_at >= moment, or_(jobs.c.updated_at > moment, later))


def _due(state: str, before: datetime) -> list[Any]:
    """A delayed job that is not due, or not for long, is not old."""
    return [] if state in FINISHED else [or_(jobs.c.due_at.is_(None), jobs.c.due_at < before)]


def _kept_for_others(state: str) -> list[Any]:
    """A dead job stays for as long as its dead letter waits."""
    if state != "dead":
        return []
    return [~exists().where(letters.c.job_id == jobs.c.id, letters.c.status.not_in(DECIDED))]


def _delete(counts: dict[str, int], old: Any, connection: Connection, ids: Sequence[str]) -> None:
    query = select(_stored(jobs.c.id)).where(_stored(jobs.c.id).in_(ids), judged(old)).with_for_update()
    gone = connection.execute(query).scalars().all()
    if not gone:
        return
    these = _stored(jobs.c.id).in_(gone)
    counts["attempts"] += told.count(connection, these)
    for table in BELONGING:
        deleted = connection.execute(delete(table).where(_stored(table.c.job_id).in_(gone))).rowcount
        if table is attempts:
            counts["attempts"] += deleted
    counts["jobs"] += connection.execute(delete(jobs).where(these)).rowcount


def _stored(key: Any) -> Any:
    """``key`` for comparison with stored keys as they are, because an earlier version did not shorten them."""
    return type_coerce(key, Text())


__all__ = ["BELONGING", "DECIDED", "KEEP_UNFINISHED", "prune_jobs"]
