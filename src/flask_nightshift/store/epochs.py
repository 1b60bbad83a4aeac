"""What the database remembers of a broker's data, so that a broker that lost all of it is noticed.

A broker that can (``Broker.epoch``) keeps a value among its data that is new when all data is new. Two facts for each
broker: the last value that a worker saw, and when it was found changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from .store import Store
from .tables import facts
from .upsert import insert, replace

EPOCH, WIPED = "epoch of ", "wiped: "
"""The beginnings of the facts' names, before the broker's URL."""


def note(store: Store, broker: str, epoch: str, at: datetime) -> datetime | None:
    """Remember the ``epoch`` of the broker with the URL ``broker``.

    Returns None, or since when another one was known; of several workers that find that, only one gets the time. Raises
    ``DatabaseUnavailable``.
    """
    name = EPOCH + broker
    with store.begin() as connection:
        values: dict[str, Any] = {"name": name, "value": epoch, "at": at}
        connection.execute(insert(connection.dialect.name, facts).values(values).on_conflict_do_nothing())
        known = connection.execute(select(facts.c.value, facts.c.at).where(facts.c.name == name)).one()
        changed = update(facts).where(facts.c.name == name, facts.c.value == known.value)
        if known.value == epoch or not connection.execute(changed.values(value=epoch, at=at)).rowcount:
            return None
        replace(connection, facts, {"name": WIPED + broker, "value": epoch, "at": at})
        since: datetime = known.at
        return since


def wiped_at(store: Store, brokers: Iterable[str]) -> datetime | None:
    """When one of ``brokers`` (URLs) was last found to have lost its data; raises ``DatabaseUnavailable``."""
    names = [WIPED + broker for broker in brokers]
    query = select(facts.c.at).where(facts.c.name.in_(names)).order_by(facts.c.at.desc()).limit(1)
    with store.read() as connection:
        return connection.execute(query).scalar()


__all__ = ["note", "wiped_at"]
