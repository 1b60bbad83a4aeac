"""Which publish of an attempt may start, where the broker cannot refuse a second one: table ``nightshift_copies``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from ..message.copies import Copy
from .store import Store
from .tables import copies as table
from .types import key_of
from .upsert import insert

SECONDS = 2.0
"""Maximum seconds for which jobs wait for the answer; then they run unchecked."""
KEPT = timedelta(days=1)
"""How long an attempt is remembered."""

_KEYS = list(table.primary_key)


def second_publishes(store: Store, copies: Iterable[Copy], at: datetime) -> set[Copy]:
    """Those of ``copies`` of whose attempt another publish came first, by one statement.

    A publish that comes first is noted, so a redelivery of it passes again. Raises ``DatabaseUnavailable``.
    """
    asked = list(copies)
    rows: dict[tuple[str, int, int], int] = {}
    for copy in asked:
        rows.setdefault(_key(copy), copy.number)
    with store.begin(timeout=SECONDS) as connection:
        statement = insert(connection.dialect.name, table)
        statement = statement.on_conflict_do_update(index_elements=_KEYS, set_={"at": table.c.at})
        values = [  # in order, so that two workers do not wait for each other
            {"row": row, "run": run, "attempt": attempt, "copy": number, "at": at}
            for (row, run, attempt), number in sorted(rows.items())
        ]
        found = connection.execute(statement.returning(*_KEYS, table.c.copy), values)
        first = {(row, run, attempt): number for row, run, attempt, number in found}
    return {copy for copy in asked if first[_key(copy)] != copy.number}


def arrived(connection: Connection, copies: Iterable[Copy]) -> set[Copy]:
    """Those of ``copies`` of whose attempt another publish has arrived at a worker."""
    asked = list(copies)
    query = select(*_KEYS, table.c.copy).where(table.c.row.in_({key_of(copy.row) for copy in asked}))
    first = {tuple(key): number for *key, number in connection.execute(query)} if asked else {}
    return {copy for copy in asked if first.get(_key(copy), copy.number) != copy.number}


def _key(copy: Copy) -> tuple[str, int, int]:
    return key_of(copy.row), copy.run, copy.attempt


__all__ = ["KEPT", "arrived", "second_publishes"]
