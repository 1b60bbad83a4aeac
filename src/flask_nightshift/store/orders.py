"""Orders for all workers in the database, where the broker cannot hold them (RabbitMQ).

The fact ``orders`` is the number of the last order. A transaction that orders something raises it first, and so locks
its row until the commit: an order with a lower number is never seen later than one with a higher number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, select, update

from ..domain.job import utcnow
from ..domain.orders import Ordered, Pause
from ..domain.tombstones import Tombstone, latest
from . import tables as t
from . import upsert
from .store import Store

FACT = "orders"
READ_SECONDS = 2.0
"""The maximum seconds of a worker's question."""


class DatabaseOrders:
    """The orders in ``store``; all methods raise ``DatabaseUnavailable``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, since: int) -> Ordered | None:
        """One query for the number, and the rest only if the number has changed."""
        with self._store.read(timeout=READ_SECONDS) as connection:
            number = _last(connection)
            if number == since:
                return None
            new = _tombstones(connection, t.tombstones.c.number > since)
            return Ordered(number=number, pauses=_pauses(connection), tombstones=tuple(new))

    def pause(self, pause: Pause) -> Pause | None:
        """Write the row of a pause; returns the former one."""
        with self._store.begin() as connection:
            number_order(connection)
            former = _pauses(connection).get(pause.queue)
            row = {"queue": pause.queue, "at": pause.at, "by": pause.by, "reason": pause.reason}
            upsert.replace(connection, t.pauses, row)
            return former

    def resume(self, queue: str) -> Pause | None:
        """Delete the row of a pause; returns it."""
        with self._store.begin() as connection:
            number_order(connection)
            former = _pauses(connection).get(queue)
            connection.execute(delete(t.pauses).where(t.pauses.c.queue == queue))
            return former

    def pauses(self) -> dict[str, Pause]:
        """The paused queues, by name."""
        with self._store.read() as connection:
            return _pauses(connection)

    def cancel(self, tombstones: Sequence[Tombstone]) -> None:
        """Write rows in one transaction."""
        if not tombstones:
            return
        with self._store.begin() as connection:
            number = number_order(connection)
            statement = upsert.insert(connection.dialect.name, t.tombstones)
            new = {name: statement.excluded[name] for name in ("number", "at", "expires_at", "by")}
            kills = (
                t.tombstones.c.kill > statement.excluded.kill
            )  # a worker may not have heard of that order yet
            new["kill"] = case((kills, t.tombstones.c.kill), else_=statement.excluded.kill)
            connection.execute(
                statement.on_conflict_do_update(index_elements=["job_id"], set_=new),
                [_row(each, number) for each in latest(tombstones).values()],
            )

    def tombstones(self) -> list[Tombstone]:
        """All rows."""
        with self._store.read() as connection:
            return _tombstones(connection)

    def count_tombstones(self) -> int:
        """The number of rows."""
        with self._store.read() as connection:
            return int(connection.execute(select(func.count()).select_from(t.tombstones)).scalar_one())

    def remove_tombstones(self, tombstones: Sequence[Tombstone]) -> None:
        """Delete rows, unless their jobs were cancelled again."""
        mine = (t.tombstones.c.job_id == bindparam("gone"), t.tombstones.c.at <= bindparam("seen"))
        values = [{"gone": each.job_id, "seen": each.at} for each in sorted(tombstones)]
        if values:
            with self._store.begin() as connection:
                connection.execute(delete(t.tombstones).where(*mine), values)


def number_order(connection: Connection) -> int:
    """Give an order of this transaction its number; other transactions that order something wait for its end."""
    now = utcnow()
    values: dict[str, Any] = {"name": FACT, "value": "0", "at": now}
    written = upsert.insert(connection.dialect.name, t.facts).values(values)
    connection.execute(
        written.on_conflict_do_update(index_elements=["name"], set_={"at": now})
    )  # locks the row
    number = max(_last(connection) + 1, int(now.timestamp() * 1_000_000))
    connection.execute(update(t.facts).where(t.facts.c.name == FACT).values(value=str(number)))
    return number


def _last(connection: Connection) -> int:
    return int(connection.execute(select(t.facts.c.value).where(t.facts.c.name == FACT)).scalar() or 0)


def _row(each: Tombstone, number: int) -> dict[str, Any]:
    job_id, at, expires_at, kill, by = each
    return {
        "job_id": job_id,
        "number": number,
        "at": at,
        "expires_at": expires_at,
        "kill": int(kill),
        "by": by,
    }


def _tombstones(connection: Connection, *conditions: Any) -> list[Tombstone]:
    c = t.tombstones.c
    query = select(c.job_id, c.at, c.expires_at, c.kill, c.by).where(*conditions).order_by(c.number)
    return [
        Tombstone(row.job_id, row.at, row.expires_at, bool(row.kill), row.by)
        for row in connection.execute(query)
    ]


def _pauses(connection: Connection) -> dict[str, Pause]:
    rows = connection.execute(select(t.pauses).order_by(t.pauses.c.queue)).all()
    return {row.queue: Pause(row.queue, row.at, row.by, row.reason) for row in rows}


__all__ = ["DatabaseOrders", "number_order"]
