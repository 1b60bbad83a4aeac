"""``INSERT … ON CONFLICT``, which SQLite and PostgreSQL spell alike and SQLAlchemy keeps apart."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection, table: Table) -> Any:
    """An insert into ``table`` that has ``on_conflict_do_update()`` and ``on_conflict_do_nothing()``."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def replace(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Write one row whole: insert it, or overwrite the one with its primary key."""
    keys = [column.name for column in table.primary_key]
    statement = insert(connection, table).values(**values)
    changes = {name: statement.excluded[name] for name in values if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes))


__all__ = ["insert", "replace"]
