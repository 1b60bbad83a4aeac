"""A relay's steps in the database, each a short transaction: look, claim, and delete what is published.

A claim raises the row's publish number from the one that was seen. So of two relays exactly one gets the row, and each
publish has a number of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import func, select, update

from ..domain.job import utcnow
from ..message.stored import FORMAT
from ..store import Store, outbox_rows
from ..store.tables import outbox
from .rows import WAITING, Row
from .sightings import Sighting

COUNTED = 10_000
"""The maximum number of rows that ``backlog`` counts."""

OTHER_VERSION = "written by another version of Flask-Nightshift, which has to publish them"
"""Why rows are left alone."""
_OLDEST_FIRST = (outbox.c.created_at, outbox.c.id)


class Backlog(NamedTuple):
    """Jobs that wait in an outbox: their number (up to ``COUNTED``), and since how many seconds the oldest does."""

    rows: int
    oldest: float


def look(store: Store, most: int, without: Collection[str] = ()) -> list[Sighting]:
    """The oldest waiting rows whose format we know, without those of the queues ``without``."""
    query = select(outbox.c.id, outbox.c.copy, outbox.c.claimed_by.is_not(None))
    query = query.where(outbox.c.state == WAITING, outbox.c.format == FORMAT)
    if without:
        query = query.where(outbox.c.queue.not_in(sorted(without)))
    with store.read() as connection:
        return [Sighting(*row) for row in connection.execute(query.order_by(*_OLDEST_FIRST).limit(most))]


def claim(store: Store, seen: Iterable[Sighting], relay: str) -> list[Row]:
    """Claim those of the rows that are still as they were ``seen``; returns them, the oldest first."""
    rows: list[Row] = []
    in_order = sorted(seen, key=lambda each: each.copy)
    with store.begin() as connection:
        for copy, group in groupby(in_order, key=lambda each: each.copy):
            free = select(outbox.c.id).where(
                outbox_rows.wanted(connection), outbox.c.copy == copy, outbox.c.state == WAITING
            )
            free = free.with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time
            statement = update(outbox).where(outbox.c.id.in_(free))
            statement = statement.values(copy=copy + 1, claimed_by=relay, claimed_at=utcnow())
            ids = [each.row_id for each in group]
            rows += [Row(*row) for row in connection.execute(statement.returning(*outbox.c), {"ids": ids})]
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def settle(store: Store, rows: Sequence[Row]) -> None:
    """The broker has these rows: delete them; those of durable jobs stay, as published."""
    durable = [row.id for row in rows if row.durable]
    with store.begin() as connection:
        outbox_rows.erase(connection, [row.id for row in rows if not row.durable])
        outbox_rows.published(connection, durable)


def release(store: Store, rows: Sequence[Row], relay: str) -> None:
    """Give back rows that were claimed and not published, so that no relay waits for their claim to end."""
    with store.begin() as connection:
        statement = update(outbox).where(outbox_rows.wanted(connection), outbox.c.claimed_by == relay)
        connection.execute(statement.values(claimed_by=None), {"ids": [row.id for row in rows]})


def backlog(store: Store) -> Backlog:
    """The jobs that wait; cheap, whatever their number."""
    waiting = select(outbox.c.created_at).where(outbox.c.state == WAITING)
    some = waiting.limit(COUNTED).subquery()
    oldest = waiting.order_by(outbox.c.created_at).limit(1)
    with store.read() as connection:
        count: int = connection.execute(select(func.count()).select_from(some)).scalar_one()
        since: Any = connection.execute(oldest).scalar()
    age = utcnow() - since if since is not None else timedelta()
    return Backlog(count, max(0.0, age.total_seconds()))


def backlog_of(stores: Iterable[Store]) -> Backlog:
    """The jobs that wait in several outboxes."""
    found = [backlog(store) for store in stores]
    return Backlog(sum(each.rows for each in found), max((each.oldest for each in found), default=0.0))


def of_other_formats(store: Store, state: str = WAITING) -> int:
    """The number of rows (up to ``COUNTED``) in ``state`` that another version wrote, and we leave alone."""
    some = select(outbox.c.id).where(outbox.c.state == state, outbox.c.format != FORMAT).limit(COUNTED)
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(some.subquery())).scalar_one())


__all__ = [
    "COUNTED",
    "OTHER_VERSION",
    "Backlog",
    "backlog",
    "backlog_of",
    "claim",
    "look",
    "of_other_formats",
    "release",
    "settle",
]
