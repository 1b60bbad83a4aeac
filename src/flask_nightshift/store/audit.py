"""The audit: a row for each action that changed something, who did it, and how it ended.

A row is written when the action begins, and again when it ends. So an action whose process was killed stays ``begun``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, literal, select, tuple_, update

from .store import Store
from .tables import audit as table
from .types import KeyText, UtcDateTime
from .upsert import replace

BEGUN = "begun"
"""The outcome of an action that has not ended, or whose process was killed."""
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
OUTCOMES = (BEGUN, DONE, FAILED, CANCELLED)
WRITE_SECONDS = 2.0
READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """An action ``by`` somebody on ``target``. ``count``: on how many jobs, queues, … it acted."""

    id: str
    at: datetime
    by: str
    action: str
    target: str
    why: str | None = None
    count: int | None = None
    outcome: str = BEGUN
    error: str | None = None
    ended_at: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row in plain JSON types."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }


def write(store: Store, row: Row) -> None:
    """Write ``row``, or write it again; raises ``DatabaseUnavailable`` within ``WRITE_SECONDS``."""
    with store.begin(timeout=WRITE_SECONDS) as connection:
        write_with(connection, row)


def write_with(connection: Connection, row: Row) -> None:
    """As ``write``, in the transaction of ``connection``."""
    replace(connection, table, asdict(row))


def end(
    connection: Connection, row_id: str, outcome: str, at: datetime, count: int | None, error: str | None
) -> None:
    """Note how the action of the row ``row_id`` ended; without such a row nothing is noted."""
    values = {"outcome": outcome, "ended_at": at, "count": count, "error": error}
    connection.execute(update(table).where(table.c.id == row_id).values(values))


def latest(
    store: Store,
    *,
    by: str | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int,
) -> list[Row]:
    """Up to ``limit`` rows, the latest first, those after the row with the time and id ``after``."""
    wanted = [column == value for column, value in ((table.c.by, by), (table.c.action, action)) if value]
    if since is not None:
        wanted.append(table.c.at >= since)
    if until is not None:
        wanted.append(table.c.at < until)
    if after is not None:
        key = tuple_(literal(after[0], UtcDateTime()), literal(after[1], KeyText()))
        wanted.append(tuple_(table.c.at, table.c.id) < key)
    columns = [table.c[name] for name in Row.__slots__]
    query = select(*columns).where(*wanted).order_by(table.c.at.desc(), table.c.id.desc()).limit(limit)
    with store.read(timeout=READ_SECONDS) as connection:
        return [Row(**row) for row in connection.execute(query).mappings()]


def actors(store: Store, limit: int = 100) -> list[str]:
    """The names of those who acted, by name."""
    return _distinct(store, table.c.by, limit)


def verbs(store: Store, limit: int = 100) -> list[str]:
    """The actions that were recorded, by name."""
    return _distinct(store, table.c.action, limit)


def _distinct(store: Store, column: Any, limit: int) -> list[str]:
    with store.read(timeout=READ_SECONDS) as connection:
        return list(connection.execute(select(column).distinct().order_by(column).limit(limit)).scalars())


__all__ = [
    "BEGUN",
    "CANCELLED",
    "DONE",
    "FAILED",
    "OUTCOMES",
    "Row",
    "actors",
    "end",
    "latest",
    "verbs",
    "write",
    "write_with",
]
