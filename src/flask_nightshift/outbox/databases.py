"""Which of our databases a connection leads to: only there a relay finds what the connection writes.

Two URLs may name one database (a host's other name, PgBouncer), and one engine may reach a database without any URL
(``creator=``). So a database whose URL we do not know is asked for the identity that ``migrate`` gave it.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, inspect, make_url

from ..config.database_url import in_memory, place
from ..errors import DatabaseUnavailable
from ..options.publish import InvalidOption
from ..store import Store
from ..store.identity import identity
from ..store.tables import facts


class Databases:
    """The databases that may hold rows of the outbox."""

    def __init__(self, stores: Sequence[Store]) -> None:
        self._stores = stores
        self._known: weakref.WeakKeyDictionary[Engine, Store | None] = weakref.WeakKeyDictionary()

    def of(self, connection: Connection) -> Store | None:
        """The store of the database that ``connection`` leads to; None for a SQLite database in memory.

        Raises ``InvalidOption`` for a database that is none of ours.
        """
        engine = connection.engine
        try:
            return self._known[engine]
        except KeyError:
            found = self._known[engine] = self._find(connection)
            return found

    def _find(self, connection: Connection) -> Store | None:
        url = connection.engine.url
        if connection.dialect.name == "sqlite":
            file = _file(connection)
            if file is None:
                return None
            url = URL.create("sqlite", database=str(file))
        for store in self._stores:
            if place(url) == place(make_url(store.url)):
                return store
        known_by = self._by_identity(connection) if connection.dialect.name == "postgresql" else None
        if known_by is not None:
            return known_by
        known = ", ".join(store.url for store in self._stores)
        shown = connection.engine.url.render_as_string(hide_password=True)
        raise InvalidOption(
            "session",
            type(connection).__name__,
            f"no relay reads the outbox of its database, {shown}. Known are {known}: let SQLALCHEMY_DATABASE_URI or "
            "NIGHTSHIFT_DATABASE_URL be its URL, and run 'flask jobs migrate'",
        )

    def _by_identity(self, connection: Connection) -> Store | None:
        if not inspect(connection).has_table(
            facts.name
        ):  # a failed SELECT would end the caller's transaction
            return None
        mine = identity(connection)
        for store in self._stores:
            try:
                with store.read() as other:
                    if mine is not None and identity(other) == mine:
                        return store
            except DatabaseUnavailable:
                continue
        return None


def _file(connection: Connection) -> Path | None:
    """The file of a SQLite connection's main database; None if that is in memory."""
    if in_memory(connection.engine.url) and connection.engine.url.database:
        return None
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    path = next((str(row[2]) for row in rows if row[1] == "main"), "")
    return Path(path) if path else None


__all__ = ["Databases"]
