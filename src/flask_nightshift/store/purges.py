"""Purges of queues whose jobs the history does not show as deleted yet: a fact for each queue."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, select

from .store import Store
from .tables import facts
from .types import key_of
from .upsert import replace

NAME = "purged: "
"""The beginning of the facts' names, before the name of the queue."""


class Purge(NamedTuple):
    """``queue`` was purged ``at`` that moment, last of all."""

    queue: str
    at: datetime


def note(store: Store, queue: str, at: datetime) -> None:
    """Note that ``queue`` was purged; raises ``DatabaseUnavailable``."""
    with store.begin() as connection:
        replace(connection, facts, {"name": key_of(NAME + queue), "value": queue, "at": at})


def noted(store: Store) -> list[Purge]:
    """All that are noted; raises ``DatabaseUnavailable``."""
    query = select(facts.c.value, facts.c.at).where(facts.c.name.startswith(NAME, autoescape=True))
    with store.read() as connection:
        return [Purge(*row) for row in connection.execute(query.order_by(facts.c.at))]


def forget(store: Store, purge: Purge) -> None:
    """Forget ``purge``, unless its queue was purged again; raises ``DatabaseUnavailable``."""
    mine = (facts.c.name == key_of(NAME + purge.queue), facts.c.at == purge.at)
    with store.begin() as connection:
        connection.execute(delete(facts).where(*mine))


__all__ = ["Purge", "forget", "note", "noted"]
