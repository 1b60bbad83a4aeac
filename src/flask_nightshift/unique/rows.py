"""The rows of locks when jobs begin, end and die: each step is part of a transaction of its caller."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from ..domain.job import utcnow
from ..message.unique import STARTED, Lock
from ..store.tables import locks as table
from ..store.types import key_of

REPLACED = "replaced"
"""In place of what a lock waits for, in the row that says that another job has replaced one."""
_KEYS: Any = bindparam("keys", expanding=True)
_OURS = (
    select(table.c.key, table.c.job_id)
    .where(tuple_(table.c.key, table.c.job_id).in_(bindparam("pairs", expanding=True)))
    .order_by(table.c.key)  # one order in all processes, so that they do not deadlock
    .with_for_update()
)
_MARK = update(table).where(table.c.key.in_(_KEYS)).values(started_at=bindparam("now"))
_DELETE = delete(table).where(table.c.key.in_(_KEYS))
_RELEASE = delete(table).where(table.c.key == bindparam("lock"), table.c.job_id == bindparam("job"))


def begin(connection: Connection, locks: Sequence[Lock]) -> dict[str, str]:
    """Jobs begin: returns, by job id, the ids of the jobs that replaced some of them."""
    pairs = [(lock.key, lock.job_id) for lock in locks]
    found = {tuple(row) for row in connection.execute(_OURS, {"pairs": pairs})}
    ours = [lock for lock in locks if (lock.key, key_of(lock.job_id)) in found]
    if kept := [lock.key for lock in ours if lock.until != STARTED]:
        connection.execute(_MARK, {"keys": kept, "now": utcnow()})
    if over := [lock.key for lock in ours if lock.until == STARTED]:
        connection.execute(_DELETE, {"keys": over})
    if len(ours) == len(locks):
        return {}
    rest = {key_of(tombstone(lock.job_id)): lock.job_id for lock in locks if lock not in ours}
    query = select(table.c.key, table.c.job_id).where(table.c.key.in_(rest))
    return {rest[key]: str(by) for key, by in connection.execute(query)}


def release(connection: Connection, locks: Sequence[Lock]) -> None:
    """Jobs never run again: delete their locks, and what says that another job has replaced them."""
    connection.execute(_RELEASE, [{"lock": lock.key, "job": lock.job_id} for lock in sorted(locks)])
    connection.execute(_DELETE, {"keys": [tombstone(lock.job_id) for lock in sorted(locks)]})


def release_of_dead(connection: Connection, job_ids: Sequence[str]) -> None:
    """Release the locks of dead jobs, also of those that the broker itself buried.

    A job that one of them has replaced does not run, although its successor is dead.
    """
    mine = table.c.job_id.in_(job_ids) & (table.c.until != REPLACED)
    gone = table.c.key.in_([tombstone(job_id) for job_id in job_ids])
    connection.execute(delete(table).where(mine | gone))


def release_of_purged(connection: Connection, job_ids: Sequence[str], at: datetime) -> None:
    """Release the locks of jobs that were deleted with their queue ``at`` that moment, also if they had begun before.

    A lock that a replay of such a job took later stays.
    """
    theirs = table.c.job_id.in_(job_ids), table.c.until != REPLACED, table.c.taken_at <= at
    connection.execute(delete(table).where(*theirs))


def mine(lock: Lock) -> Any:
    """The condition for the row of ``lock``, if its job holds it."""
    return (table.c.key == lock.key) & (table.c.job_id == lock.job_id)


def tombstone(job_id: str) -> str:
    """The key of the row that says that another job has replaced this one."""
    return f"{REPLACED}:{job_id}"


__all__ = ["REPLACED", "begin", "mine", "release", "release_of_dead", "release_of_purged", "tombstone"]
