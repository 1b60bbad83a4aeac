"""The claims of ticks in the database, where the broker cannot claim them: a compare-and-set of ``last_due_at``.

It only grows, so of any number of Beats exactly one claims a tick.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update

from ..domain.tick import EARLY, FAR, Claim, Tick, Verdict
from .schedules import Row, time_of
from .store import Store
from .tables import schedules as table
from .upsert import insert

SENDING = timedelta(seconds=6)
"""How long a Beat may take from ``reserve`` to ``claim``: more than the longest publish, and less than a tick may be
late before ``catch_up`` decides about it."""


def reserve(connection: Connection, tick: Tick) -> Claim:
    """Have other Beats wait for ``SENDING`` with ``tick``, because this one publishes its job and then claims it."""
    at = time_of(connection)
    if tick.after is None and tick.due > at + EARLY:
        return Claim(Verdict.EARLY, at)
    until = table.c.sending_until
    wanted = and_(table.c.name == tick.entry, _is_free(tick, at), _is_wanted(tick))
    nobody = or_(until.is_(None), until <= at, until > at + SENDING)  # a clock was set back
    reserved = update(table).where(wanted, nobody).values(sending_until=at + SENDING)
    if connection.execute(reserved).rowcount:
        return Claim(Verdict.CLAIMED)
    row = _row(connection, tick.entry)
    if row is None:  # nobody has read this entry yet
        new = {"name": tick.entry, "total_run_count": 0, "sending_until": at + SENDING}
        written = insert(connection.dialect.name, table).values(new).on_conflict_do_nothing()
        return Claim(Verdict.CLAIMED if connection.execute(written).rowcount else Verdict.SENDING)
    if row.leaves_out(tick.due):
        return Claim(Verdict.LEFT_OUT)
    if connection.execute(select(table.c.name).where(wanted)).first():
        return Claim(Verdict.SENDING)
    return Claim(Verdict.TAKEN, row.last_due_at)


def claim(connection: Connection, tick: Tick, job_id: str, next_at: datetime | None) -> Claim:
    """Claim ``tick`` for the job ``job_id``, in the transaction of ``connection``."""
    at = time_of(connection)
    values: dict[Any, Any] = {
        "last_due_at": tick.due,
        "last_run_at": tick.due,
        "last_job_id": job_id,
        "next_at": next_at,
        "sending_until": None,
        "total_run_count": table.c.total_run_count + 1,
    }
    wanted = and_(table.c.name == tick.entry, _is_free(tick, at), _is_wanted(tick))
    if tick.after is None and tick.due > at + EARLY:
        return Claim(Verdict.EARLY, at)
    if connection.execute(update(table).where(wanted).values(values)).rowcount:
        return Claim(Verdict.CLAIMED)
    row = _row(connection, tick.entry)
    if row is None:
        new = insert(connection.dialect.name, table).values(
            {**values, "name": tick.entry, "total_run_count": 1}
        )
        done = connection.execute(new.on_conflict_do_nothing()).rowcount
        return Claim(Verdict.CLAIMED if done else Verdict.TAKEN)
    if row.leaves_out(tick.due):
        return Claim(Verdict.LEFT_OUT)
    return Claim(Verdict.TAKEN, row.last_due_at)


def _is_free(tick: Tick, at: datetime) -> Any:
    last = table.c.last_due_at
    if tick.after is not None:
        return or_(last.is_(None), last == tick.after)
    return or_(last.is_(None), last < tick.due, last > at + FAR)


def _is_wanted(tick: Tick) -> Any:
    until = table.c.skip_until
    return and_(table.c.paused_at.is_(None), or_(until.is_(None), until < tick.due))


def _row(connection: Connection, name: str) -> Row | None:
    found = connection.execute(select(table).where(table.c.name == name)).mappings().one_or_none()
    return None if found is None else Row(**found)


def give_up(connection: Connection, tick: Tick) -> None:
    """Undo ``reserve``: the job of ``tick`` could not be enqueued."""
    mine = update(table).where(table.c.name == tick.entry)
    connection.execute(mine.values(sending_until=None))


def last_due(store: Store, name: str, timeout: float) -> datetime | None:
    """The last tick of the entry ``name``; raises ``DatabaseUnavailable`` within ``timeout`` seconds."""
    with store.read(timeout=timeout) as connection:
        query = select(table.c.last_due_at).where(table.c.name == name)
        found: datetime | None = connection.execute(query).scalar()
        return found


__all__ = ["claim", "give_up", "last_due", "reserve"]
