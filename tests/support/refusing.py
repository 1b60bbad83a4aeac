"""Makes a database refuse a value, or take away the rights of a role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text

from flask_nightshift.store import Store


def refuse(store: Store, table: str, column: str, value: str) -> None:
    """From now on, make ``table`` refuse rows whose ``column`` is ``value``."""
    with store.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"ALTER TABLE {table} ADD CHECK ({column} <> '{value}')"))
            return
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                text(
                    f"CREATE TRIGGER refuse_{table}_{column}_{event} BEFORE {event} ON {table} "
                    f"WHEN NEW.{column} = '{value}' BEGIN SELECT RAISE(ABORT, 'refused by a rule'); END"
                )
            )


def role(store: Store) -> Any:
    """The URL of ``store`` for a new role that may only read and write our tables."""
    name = f"app_{store._url.database}"
    with store.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN"))
        rights(connection, name, given=True)
    return store._url.set(username=name)


def rights(connection: Connection, name: str, *, given: bool) -> None:
    for table in connection.execute(
        text("SELECT tablename FROM pg_tables WHERE tablename LIKE 'nightshift_%'")
    ):
        verb, word = ("GRANT", "TO") if given else ("REVOKE", "FROM")
        connection.execute(text(f"{verb} SELECT, INSERT, UPDATE, DELETE ON {table.tablename} {word} {name}"))


@contextmanager
def without_rights(store: Store, name: str) -> Iterator[None]:
    """Take all rights from the role ``name`` during the block."""
    with store.begin() as connection:
        rights(connection, name, given=False)
    yield
    with store.begin() as connection:
        rights(connection, name, given=True)
