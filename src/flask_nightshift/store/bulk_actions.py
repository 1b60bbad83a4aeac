"""Rows of bulk actions: which portion is due, who carries it out, and how far an action is.

A worker claims one portion at a time, so any worker may carry out the next one. What it writes at the end of a portion
counts only while the claim is still its own. A claim whose worker died ends after ``LEASE``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, case, func, literal, or_, select, tuple_, update

from ..domain.job import utcnow
from . import audit, bulk_steps
from .bulk_steps import Position, Step
from .store import Store
from .tables import bulk_actions as table
from .types import KeyText, UtcDateTime

WAITING, RUNNING = "waiting", "running"
"""No worker has begun; workers carry it out."""
DONE, CANCELLED, FAILED = "done", "cancelled", "failed"
OPEN = (WAITING, RUNNING)
LEASE = timedelta(seconds=20)
"""How long a claim lasts after the death of its worker."""
MOST_REASONS = 20
"""Reasons that a row keeps."""
LOOKED_AT = 10
"""Maximum number of open actions that a look returns."""


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A bulk action. ``acted`` jobs or dead letters of ``total`` are done, ``skipped`` were left for ``reasons``.

    ``rate`` is in jobs per second. ``last`` is the latest of the set, ``reached`` says how far the action is. The
    latest portion was ``worker``'s; ``error`` says why the action does not get on, or failed. ``step``: what a worker
    had begun when it died.
    """

    id: str
    action: str
    filters: Mapping[str, Any]
    options: Mapping[str, Any]
    by: str
    why: str | None
    rate: float
    total: int
    last: Position | None
    state: str
    created_at: datetime
    due_at: datetime
    reached: Position | None = None
    acted: int = 0
    skipped: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    worker: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    step: Step | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will be done."""
        return self.state not in OPEN

    def as_dict(self) -> dict[str, Any]:
        """The action in plain JSON types."""
        times = ("created_at", "started_at", "ended_at")
        return {
            "id": self.id,
            "action": self.action,
            "filters": {name: _plain(value) for name, value in self.filters.items() if value is not None},
            "options": dict(self.options),
            "by": self.by,
            "why": self.why,
            "rate": self.rate,
            "state": self.state,
            "total": self.total,
            "acted": self.acted,
            "skipped": self.skipped,
            "reasons": dict(self.reasons),
            "worker": self.worker,
            "error": self.error,
            **{name: _plain(getattr(self, name)) for name in times},
        }


class Progress(NamedTuple):
    """What a portion did. ``ended``: there is nothing after it. ``rest``: seconds until the next portion."""

    reached: Position | None
    acted: int
    skipped: Mapping[str, int]
    ended: bool
    rest: float


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def create(connection: Connection, action: BulkAction) -> None:
    """Write the row of a new action."""
    values = {name: getattr(action, name) for name in _PLAIN}
    values |= {"filters": dict(action.filters), "options": dict(action.options), "reasons": {}}
    values |= _place("last", action.last) | {"acted": 0, "skipped": 0}
    connection.execute(table.insert().values(**values))


def find(store: Store, like: str, limit: int) -> list[BulkAction]:
    """Up to ``limit`` actions whose ids are, start with or end with ``like``, the latest first."""
    exact = _read(store, select(table).where(table.c.id == like))
    mine = or_(table.c.id.startswith(like, autoescape=True), table.c.id.endswith(like, autoescape=True))
    return exact or _read(store, select(table).where(mine).order_by(table.c.created_at.desc()).limit(limit))


def latest(
    store: Store, limit: int, *, only_open: bool = False, after: tuple[datetime, str] | None = None
) -> list[BulkAction]:
    """Up to ``limit`` actions, the latest first; ``after``: those that follow the one of that time and id."""
    query = select(table).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    if after is not None:
        place = tuple_(literal(after[0], UtcDateTime()), literal(after[1], KeyText()))
        query = query.where(tuple_(table.c.created_at, table.c.id) < place)
    return _read(store, query.where(table.c.state.in_(OPEN)) if only_open else query)


def present(store: Store, ids: Collection[str]) -> set[str]:
    """Those of ``ids`` that are bulk actions."""
    with store.read() as connection:
        return (
            set(connection.execute(select(table.c.id).where(table.c.id.in_(ids))).scalars()) if ids else set()
        )


def due(store: Store, by: str) -> list[tuple[str, float]]:
    """The ids of open actions, and in how many seconds ``by`` may carry out the next portion of each, soonest first.

    That is when it is due, and not before the lease of another worker ends that carries out a portion now.
    """
    query = select(table.c.id, table.c.due_at, table.c.claimed_by, table.c.claimed_at)
    query = query.where(table.c.state.in_(OPEN)).order_by(table.c.due_at).limit(LOOKED_AT)
    with store.read() as connection:
        found = connection.execute(query).all()
        if not found:
            return []
        now = _now(connection)
    waits = []
    for row in found:
        taken = row.claimed_by is not None and row.claimed_by != by
        free_at = max(row.due_at, row.claimed_at + LEASE) if taken else row.due_at
        waits.append((row.id, max(0.0, (free_at - now).total_seconds())))
    return sorted(waits, key=lambda wait: wait[1])


def claim(store: Store, action_id: str, by: str) -> BulkAction | None:
    """Claim the next portion, if it is due and nobody else carries it out; None otherwise."""
    with store.begin() as connection:
        now = _now(connection)
        mine = and_(table.c.id == action_id, table.c.state.in_(OPEN), table.c.due_at <= now, _free(now, by))
        values = {"claimed_by": by, "claimed_at": now, "state": RUNNING}
        values["started_at"] = func.coalesce(table.c.started_at, now)
        row = connection.execute(update(table).where(mine).values(values).returning(table)).one_or_none()
    return _action(row) if row is not None else None


def advance(
    connection: Connection,
    action: BulkAction,
    by: str,
    worker: str,
    progress: Progress,
    *,
    keep: bool = False,
) -> bool:
    """Note what a portion did, and give the claim back; False if another worker has taken it over.

    With ``keep``, the portion goes on, and its claim is renewed. A portion that ends the action ends its row, unless
    somebody has cancelled it.
    """
    now = _now(connection)
    state, reasons = _locked(connection, action.id, by)
    if state is None:
        return False
    values: dict[str, Any] = {
        "acted": table.c.acted + progress.acted,
        "skipped": table.c.skipped + sum(progress.skipped.values()),
        "reasons": _summed(reasons, progress.skipped),
        "worker": worker,
        "error": None,
        "step": None,
        **({"claimed_at": now} if keep else _given_back(now, progress.rest)),
        **(_place("reached", progress.reached) if progress.reached else {}),
    }
    if progress.ended and state == RUNNING:
        values |= {"state": DONE, "ended_at": now}
    connection.execute(update(table).where(table.c.id == action.id).values(values))
    if values.get("state", state) not in OPEN:
        _audit(connection, action.id)
    return True


def begin(connection: Connection, action_id: str, by: str, step: Step) -> bool:
    """Note what ``by`` is about to do, and renew its claim; False if another worker has taken the portion over."""
    query = select(table.c.acted + table.c.skipped).where(table.c.id == action_id, table.c.claimed_by == by)
    met = connection.execute(query.with_for_update()).scalar_one_or_none()
    if met is None:
        return False
    values = {"step": bulk_steps.written(step, met), "claimed_at": _now(connection)}
    connection.execute(update(table).where(table.c.id == action_id).values(values))
    return True


def renew(store: Store, action_id: str, by: str) -> bool:
    """Renew the claim of a portion; False if another worker has taken it over."""
    with store.begin() as connection:
        mine = (table.c.id == action_id, table.c.claimed_by == by)
        renewed = update(table).where(*mine).values(claimed_at=_now(connection))
        return bool(connection.execute(renewed).rowcount)


def count(connection: Connection, action_id: str, by: str, acted: int) -> None:
    """Count what ``by`` did in the transaction of ``connection``, also if another worker has taken the portion over.

    Renews the claim if it is still its own.
    """
    claimed_at = case((table.c.claimed_by == by, _now(connection)), else_=table.c.claimed_at)
    values = {"acted": table.c.acted + acted, "claimed_at": claimed_at}
    connection.execute(update(table).where(table.c.id == action_id).values(values))


def postpone(store: Store, action_id: str, by: str, error: str, seconds: float) -> None:
    """Give the claim back: the portion is tried again after ``seconds``, because of ``error``."""
    with store.begin() as connection:
        values = {"error": error, **_given_back(_now(connection), seconds)}
        mine = (table.c.id == action_id, table.c.claimed_by == by)
        connection.execute(update(table).where(*mine).values(values))


def end(connection: Connection, action_id: str, state: str, error: str | None = None) -> BulkAction | None:
    """End an open action as ``state``; returns it, or None if it is not open (any more)."""
    values: dict[str, Any] = {"state": state, "ended_at": _now(connection)}
    if error is not None:
        values["error"] = error
    still_open = (table.c.id == action_id, table.c.state.in_(OPEN))
    row = connection.execute(update(table).where(*still_open).values(values).returning(table)).one_or_none()
    if row is None:
        return None
    _audit(connection, action_id)
    return _action(row)


_PLAIN = ("id", "action", "by", "why", "rate", "total", "state", "created_at", "due_at")


def _given_back(now: datetime, seconds: float) -> dict[str, Any]:
    return {"claimed_by": None, "due_at": now + timedelta(seconds=seconds)}


def _free(now: Any, by: str) -> Any:
    return or_(table.c.claimed_by.is_(None), table.c.claimed_by == by, table.c.claimed_at < now - LEASE)


def _audit(connection: Connection, action_id: str) -> None:
    """Note in the audit how the action ended, and on how many it acted."""
    query = select(table.c.state, table.c.ended_at, table.c.acted, table.c.error).where(
        table.c.id == action_id
    )
    row = connection.execute(query).one()
    audit.end(connection, action_id, row.state, row.ended_at, row.acted, row.error)


def _locked(connection: Connection, action_id: str, by: str) -> tuple[str | None, Mapping[str, int]]:
    mine = select(table.c.state, table.c.reasons).where(table.c.id == action_id, table.c.claimed_by == by)
    row = connection.execute(mine.with_for_update()).one_or_none()
    return (row.state, row.reasons) if row is not None else (None, {})


def _summed(known: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    found = dict(known)
    for reason, count in more.items():
        name = reason if reason in found or len(found) < MOST_REASONS else "other reasons"
        found[name] = found.get(name, 0) + count
    return found


def _place(name: str, position: Position | None) -> dict[str, Any]:
    at, given = position or (None, None)
    return {f"{name}_at": at, f"{name}_id": given}


def _read(store: Store, query: Any) -> list[BulkAction]:
    with store.read() as connection:
        return [_action(row) for row in connection.execute(query)]


def _action(row: Row[Any]) -> BulkAction:
    return BulkAction(
        row.id, row.action, row.filters, row.options, row.by, row.why, row.rate or 1.0, row.total,
        Position(row.last_at, row.last_id) if row.last_id else None, row.state, row.created_at, row.due_at,
        Position(row.reached_at, row.reached_id) if row.reached_id else None,
        row.acted, row.skipped, row.reasons, row.worker, row.started_at, row.ended_at, row.error,
        bulk_steps.read(row.step, row.acted + row.skipped),
    )  # fmt: skip


def _now(connection: Connection) -> datetime:
    """PostgreSQL's time, because machines' clocks differ; SQLite uses this machine's."""
    if connection.dialect.name == "postgresql":
        return connection.execute(select(func.clock_timestamp())).scalar_one()
    return utcnow()


__all__ = [
    "CANCELLED", "DONE", "FAILED", "LEASE", "OPEN", "RUNNING", "WAITING", "BulkAction", "Position", "Progress",
    "Step", "advance", "begin", "claim", "count", "create", "due", "end", "find", "latest", "postpone", "present",
    "renew",
]  # fmt: skip
