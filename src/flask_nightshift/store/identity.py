"""The identity of a database, by which two connections are known to lead to the same one."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, func, select

from ..domain.job import utcnow
from .tables import facts
from .upsert import insert

NAME = "database"
"""The name of the fact."""


def ensure(connection: Connection) -> None:
    """Give the database an identity, unless it has one."""
    values = {"name": NAME, "value": uuid.uuid4().hex, "at": utcnow()}
    connection.execute(insert(connection.dialect.name, facts).values(values).on_conflict_do_nothing())


def identity(connection: Connection) -> tuple[str, str] | None:
    """The identity of a PostgreSQL database: a value of ours, and its name, in which a copy on that server differs."""
    found = connection.execute(
        select(facts.c.value, func.current_database()).where(facts.c.name == NAME)
    ).first()
    return None if found is None else (found[0], found[1])


__all__ = ["NAME", "ensure", "identity"]
