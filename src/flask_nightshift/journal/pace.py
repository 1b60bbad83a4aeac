"""How fast queues move, from the totals of its last minutes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import func, select

from ..store import Store
from ..store.tables import totals


class Ended(NamedTuple):
    """How many attempts ended, and the first minute in which one did."""

    attempts: int
    first_minute: datetime


def ended_since(store: Store, queue: str, since: datetime) -> Ended | None:
    """The attempts of ``queue`` that ended since the minute of ``since``; None if none did.

    Raises ``DatabaseUnavailable``.
    """
    minute = since.astimezone(UTC).replace(second=0, microsecond=0)
    first = func.min(totals.c.minute, type_=totals.c.minute.type)
    query = select(func.sum(totals.c.count), first)
    with store.read() as connection:
        row = connection.execute(query.where(totals.c.minute >= minute, totals.c.queue == queue)).one()
    return Ended(int(row[0]), row[1]) if row[0] else None


def ended_by_queue(store: Store, since: datetime) -> dict[str, Ended]:
    """The same for each queue in which an attempt ended, by its name."""
    minute = since.astimezone(UTC).replace(second=0, microsecond=0)
    first = func.min(totals.c.minute, type_=totals.c.minute.type)
    query = select(totals.c.queue, func.sum(totals.c.count), first).where(totals.c.minute >= minute)
    with store.read() as connection:
        rows = connection.execute(query.group_by(totals.c.queue)).all()
    return {queue: Ended(int(count), begun) for queue, count, begun in rows}


__all__ = ["Ended", "ended_by_queue", "ended_since"]
