"""What the role may do with our tables, for ``flask jobs doctor``: found before a job's history needs it."""

from __future__ import annotations

from sqlalchemy import text

from . import Store
from .tables import metadata

LOCK_TIMEOUT = 3.0
"""Seconds that SQLite's write lock may be held by others before it is told."""
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_DENIED = text("""
    SELECT name FROM unnest(CAST(:tables AS text[])) AS name
    WHERE to_regclass(name) IS NOT NULL AND NOT
        (SELECT bool_and(has_table_privilege(name, granted)) FROM unnest(CAST(:rights AS text[])) AS granted)
    ORDER BY name
""")


def denied(store: Store) -> list[str]:
    """Our tables that the role may not read and write as it must; none on SQLite, which has no roles.

    Raises ``DatabaseUnavailable`` if the database takes no writes now: it is locked, or its file cannot be written.
    """
    with store.begin(timeout=LOCK_TIMEOUT) as connection:
        if connection.dialect.name == "sqlite":
            return []
        asked = {"tables": list(metadata.tables), "rights": list(RIGHTS)}
        return list(connection.execute(_DENIED, asked).scalars())


def read_only(store: Store) -> bool:
    """Whether PostgreSQL lets nobody write: a standby, or ``default_transaction_read_only``."""
    with store.read() as connection:
        if connection.dialect.name == "sqlite":
            return False
        return connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"


__all__ = ["RIGHTS", "denied", "read_only"]
