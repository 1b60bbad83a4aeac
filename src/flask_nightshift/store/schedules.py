"""The entries of the schedule as all Beats share them: the last tick of each, and what operators ordered.

All functions with a ``Store`` raise ``DatabaseUnavailable``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, DateTime, and_, case, func, literal, or_, select, update

from ..domain.job import utcnow
from ..domain.tick import FAR
from .store import Store
from .tables import schedules as table
from .types import UtcDateTime, key_of
from .upsert import insert

SECONDS = 5.0
"""Maximum seconds for reading or changing the entries."""
_ROWS = 50
"""Rows in one statement: older SQLite takes 999 parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An entry's row; the columns are explained in ``tables.py``."""

    name: str
    last_run_at: datetime | None = None
    total_run_count: int = 0
    fingerprint: str | None = None
    last_due_at: datetime | None = None
    anchor: datetime | None = None
    last_job_id: str | None = None
    next_at: datetime | None = None
    paused_at: datetime | None = None
    paused_by: str | None = None
    skip_until: datetime | None = None
    sending_until: datetime | None = None
    task: str | None = None
    queue: str | None = None
    spec: str | None = None
    timezone: str | None = None

    def leaves_out(self, due: datetime) -> bool:
        """Whether an operator ordered that the tick at ``due`` enqueues nothing."""
        return self.paused_at is not None or (self.skip_until is not None and due <= self.skip_until)


@dataclass(frozen=True, slots=True)
class Begin:
    """An entry as a Beat reads it. ``last``: where its ticks begin, if it is new. ``told``: the columns for people."""

    fingerprint: str
    last: datetime
    told: Mapping[str, str | None]

    def columns(self) -> dict[str, Any]:
        """The columns of a new row, but its name."""
        anchor = self.last.replace(microsecond=0)
        return {"fingerprint": self.fingerprint, "anchor": anchor, "last_due_at": self.last, **self.told}


class Adopted(NamedTuple):
    """The row of an entry that a Beat serves; ``changed``: its schedule is another one, so it begins anew."""

    row: Row
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a Beat did for an entry: ticks until ``last_due_at`` are dealt with, and ``runs`` of them enqueued a job."""

    last_due_at: datetime
    next_at: datetime | None = None
    last_run_at: datetime | None = None
    last_job_id: str | None = None
    runs: int = 0

    def then(self, later: Progress) -> Progress:
        """Both as one."""
        return Progress(
            last_due_at=max(self.last_due_at, later.last_due_at),
            next_at=later.next_at,
            last_run_at=later.last_run_at or self.last_run_at,
            last_job_id=later.last_job_id or self.last_job_id,
            runs=self.runs + later.runs,
        )


# reading
def now(store: Store) -> datetime:
    """The time by the database's clock; on SQLite by the clock of this machine, which all its processes share."""
    if store.engine.dialect.name == "sqlite":
        return utcnow()
    with store.read(timeout=SECONDS) as connection:
        return time_of(connection)


def read(store: Store) -> dict[str, Row]:
    """All rows by the name of their entry."""
    with store.read(timeout=SECONDS) as connection:
        return _by_name(connection, select(table).order_by(table.c.name))


# what a Beat writes
def adopt(store: Store, entries: Mapping[str, Begin], at: datetime) -> dict[str, Adopted]:
    """The rows of entries that a Beat begins to serve at ``at``, by their names.

    An entry without a row, and one whose schedule has another fingerprint, begins anew. The rest goes on.
    """
    wanted = {key_of(name): begin for name, begin in entries.items()}
    anew: set[str] = set()
    query = select(table).where(table.c.name.in_(wanted))
    with store.begin(timeout=SECONDS) as connection:
        rows = _by_name(connection, query)
        new = [_new_row(name, begin) for name, begin in wanted.items() if name not in rows]
        for some in (new[i : i + _ROWS] for i in range(0, len(new), _ROWS)):
            statement = insert(connection.dialect.name, table).values(some)
            connection.execute(statement.on_conflict_do_nothing())
        changes = {name: diff for name, row in rows.items() if (diff := changed(row, wanted[name], at))}
        for name, values in sorted(changes.items()):
            done = connection.execute(_unless_changed(rows[name], values).values(values)).rowcount
            if done and _is_other(rows[name], wanted[name]):
                anew.add(name)
        if new or changes:
            rows = _by_name(connection, query)
    found = {name: rows.get(key_of(name)) for name in entries}
    return {name: Adopted(row, key_of(name) in anew) for name, row in found.items() if row is not None}


def changed(row: Row, begin: Begin, at: datetime) -> dict[str, Any]:
    """The columns of ``row`` that change when a Beat begins to serve the entry at ``at``.

    A last tick far in the future came from a clock that was wrong, and becomes ``at``. A row that an earlier version of
    Nightshift wrote goes on after its last run.
    """
    if _is_other(row, begin):
        found = begin.columns() | {"next_at": None}
    else:
        last = max(filter(None, (row.last_due_at, row.last_run_at)), default=begin.last)
        found = begin.columns() | {
            "anchor": row.anchor or last,
            "last_due_at": at if last > at + FAR else last,
        }
    return {name: value for name, value in found.items() if getattr(row, name) != value}


def _is_other(row: Row, begin: Begin) -> bool:
    return row.fingerprint not in (None, begin.fingerprint)


def _new_row(name: str, begin: Begin) -> dict[str, Any]:
    return {"name": name, "total_run_count": 0, **begin.columns()}


def _unless_changed(row: Row, values: Mapping[str, Any]) -> Any:
    """An update of ``row`` with ``values``, unless another Beat was faster."""
    guards = (
        ["fingerprint"] if row.fingerprint != values.get("fingerprint", row.fingerprint) else ["last_due_at"]
    )
    same = [_is(table.c[guard], getattr(row, guard)) for guard in guards if guard in values]
    return update(table).where(table.c.name == row.name, *same)


def _is(column: Any, value: Any) -> Any:
    return column.is_(None) if value is None else column == value


def _by_name(connection: Connection, query: Any) -> dict[str, Row]:
    return {row["name"]: Row(**row) for row in connection.execute(query).mappings()}


def advance(store: Store, done: Mapping[str, Progress], at: datetime) -> None:
    """Write until ``at`` what a Beat did for entries whose ticks are claimed elsewhere, or enqueued nothing."""
    with store.begin(timeout=SECONDS) as connection:
        for name, progress in sorted(done.items()):
            _advance(connection, name, progress, at)


def _advance(connection: Connection, name: str, progress: Progress, at: datetime) -> None:
    last = table.c.last_due_at
    is_later = or_(last.is_(None), last < progress.last_due_at, last > at + FAR)
    new: dict[str, Any] = {"last_due_at": progress.last_due_at, "next_at": progress.next_at}
    if progress.last_job_id is not None:
        new |= {"last_run_at": progress.last_run_at, "last_job_id": progress.last_job_id}
    values: dict[Any, Any] = {
        column: case((is_later, literal(value, table.c[column].type)), else_=table.c[column])
        for column, value in new.items()
    }
    values["total_run_count"] = table.c.total_run_count + progress.runs
    connection.execute(update(table).where(table.c.name == name).values(values))


# what operators order
def pause(store: Store, name: str, by: str, at: datetime) -> Row | None:
    """Pause an entry from ``at`` on; who paused it first stays. None: no Beat has seen it."""
    values = {
        "paused_at": func.coalesce(table.c.paused_at, _moment(at)),
        "paused_by": func.coalesce(table.c.paused_by, by),
    }
    return _order(store, name, values)


def resume(store: Store, name: str, at: datetime) -> Row | None:
    """End a pause at ``at``; ticks that fell into it are not caught up. None: no Beat has seen the entry."""
    last = table.c.last_due_at
    is_older = or_(last.is_(None), last < at)
    passed = case((and_(table.c.paused_at.is_not(None), is_older), _moment(at)), else_=last)
    return _order(store, name, {"last_due_at": passed, "paused_at": None, "paused_by": None})


def skip(store: Store, name: str, until: datetime | None) -> Row | None:
    """Leave out the ticks until ``until``; None for no further one. None: no Beat has seen the entry."""
    return _order(store, name, {"skip_until": until})


def _order(store: Store, name: str, values: dict[str, Any]) -> Row | None:
    with store.begin(timeout=SECONDS) as connection:
        connection.execute(update(table).where(table.c.name == name).values(values))
        row = connection.execute(select(table).where(table.c.name == name)).mappings().one_or_none()
    return None if row is None else Row(**row)


def ensure(store: Store, name: str, at: datetime) -> None:
    """Make a row for an entry that no Beat has seen yet, so that it can be paused."""
    with store.begin(timeout=SECONDS) as connection:
        new = insert(connection.dialect.name, table)
        new = new.values(name=name, total_run_count=0, last_due_at=at, anchor=at.replace(microsecond=0))
        connection.execute(new.on_conflict_do_nothing())


def _moment(at: datetime) -> Any:
    return literal(at, UtcDateTime())


def time_of(connection: Connection) -> datetime:
    """The time by the database's clock."""
    if connection.dialect.name == "sqlite":
        return utcnow()
    at: datetime = connection.execute(
        select(func.clock_timestamp(type_=DateTime(timezone=True)))
    ).scalar_one()
    return at


__all__ = [
    "Adopted",
    "Begin",
    "Progress",
    "Row",
    "adopt",
    "advance",
    "changed",
    "ensure",
    "now",
    "pause",
    "read",
    "resume",
    "skip",
    "time_of",
]
