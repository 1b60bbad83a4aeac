"""The number of records that the history has lost, as a fact of the database.

A journal drops records when its database is away for long. It adds their number here when the database is back.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Connection, Text, cast, select

from ..domain.job import utcnow
from .store import Store
from .tables import facts
from .upsert import insert

LOST = "history: lost records"
"""The name of the fact."""


def add(connection: Connection, count: int) -> None:
    """Add ``count`` lost records."""
    fresh = insert(connection.dialect.name, facts).values(name=LOST, value=str(count), at=utcnow())
    total = cast(cast(facts.c.value, BigInteger) + count, Text)
    changes = {"value": total, "at": fresh.excluded.at}
    connection.execute(fresh.on_conflict_do_update(index_elements=["name"], set_=changes))


def total(store: Store) -> int:
    """The number of records lost so far; raises ``DatabaseUnavailable``."""
    with store.read() as connection:
        return int(connection.execute(select(facts.c.value).where(facts.c.name == LOST)).scalar() or 0)


__all__ = ["add", "total"]
