"""Check the database role's permissions on our tables for ``flask jobs doctor``, before a job's history needs them."""

from __future__ import annotations

from sqlalchemy import text

from . import Store
from .tables import metadata

LOCK_TIMEOUT = 3.0
"""Seconds for which others may hold SQLite's write lock before the doctor reports it."""
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

_DENIED = text("""
    SELECT name FROM unnest(CAST(:tables AS text[])) AS name
    WHERE to_regclass(name) IS NOT NULL AND NOT
        (SELECT bool_and(has_table_privilege(name, granted)) FROM unnest(CAST(:rights AS text[])) AS granted)
    ORDER BY name
""")


def denied(store: Store) -> list[str]:
    """Our tables for which the role lacks permissions; none on SQLite, which has no roles.

    Raises ``DatabaseUnavailable`` if the database accepts no writes: it is locked, or its file cannot be written.
    """
    with store.begin(timeout=LOCK_TIMEOUT) as connection:
        if connection.dialect.name == "sqlite":
            return []
        asked = {"tables": list(metadata.tables), "rights": list(RIGHTS)}
        return list(connection.execute(_DENIED, asked).scalars())


def read_only(store: Store) -> bool:
    """Whether PostgreSQL is read-only: a standby, or ``default_transaction_read_only``."""
    with store.read() as connection:
        if connection.dialect.name == "sqlite":
            return False
        return connection.execute(text("SHOW transaction_read_only")).scalar_one() == "on"


__all__ = ["RIGHTS", "denied", "read_only"]
