"""Find a job in the outboxes that is not published yet."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, or_, select

from ..store import Store
from ..store.outbox_rows import PUBLISHED, WAITING
from ..store.tables import outbox
from .rows import Row


class WaitingRow(NamedTuple):
    """A job in an outbox that waits to be published."""

    job_id: str
    task: str
    queue: str
    created_at: datetime
    due_at: datetime | None
    claimed_by: str | None


_COLUMNS = tuple(outbox.c[name] for name in ("job_id", "task", "queue", "created_at", "due_at", "claimed_by"))


def waiting_row(stores: Iterable[Store], job_id: str) -> WaitingRow | None:
    """The row of the job; None if it does not wait. Raises ``DatabaseUnavailable``."""
    return next(iter(_find(stores, outbox.c.job_id == job_id, 1)), None)


def like(stores: Iterable[Store], given: str, limit: int) -> list[WaitingRow]:
    """The row of the job ``given``, or up to ``limit`` rows of jobs whose ids begin or end with it."""
    key, every = outbox.c.job_id, list(stores)
    part = or_(key.startswith(given, autoescape=True), key.endswith(given, autoescape=True))
    return _find(every, key == given, 1) or _find(every, part, limit)


def with_message(stores: Iterable[Store], job_id: str) -> Row | None:
    """The latest row that still has the message of the job: it waits, or is durable and has not ended.

    Raises ``DatabaseUnavailable``.
    """
    there = (outbox.c.job_id == job_id, outbox.c.state.in_((WAITING, PUBLISHED)))
    query = select(outbox).where(*there).order_by(outbox.c.created_at.desc()).limit(1)
    for store in stores:
        with store.read() as connection:
            found = connection.execute(query).first()
        if found is not None and found.message:
            return Row(*found)
    return None


def _find(stores: Iterable[Store], which: ColumnElement[bool], limit: int) -> list[WaitingRow]:
    query = select(*_COLUMNS).where(which, outbox.c.state == WAITING).order_by(outbox.c.created_at.desc())
    found: list[WaitingRow] = []
    for store in stores:
        with store.read() as connection:
            found += [WaitingRow(*row) for row in connection.execute(query.limit(limit))]
    return found[:limit]


__all__ = ["WaitingRow", "like", "waiting_row", "with_message"]
