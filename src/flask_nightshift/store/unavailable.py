"""Which errors of a driver mean that the database cannot be used now, and what to tell people about them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import exc as sa

from ..errors import DatabaseUnavailable
from ..passwords import hide_password

_SQLSTATE_CLASSES = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
"""Connection, read-only (a replica after a failover), login, no such database, deadlock, full, shutdown."""
_NO_TABLE = ("42P01", "42703")
_REMEDY = "its tables are missing or of another version: run 'flask jobs migrate'"


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the errors of a database that cannot be used now into ``DatabaseUnavailable``; others pass.

    ``url`` (without its password) is named in the message.
    """
    try:
        yield
    except sa.TimeoutError as exc:
        raise DatabaseUnavailable(f"{url}: all connections are in use") from exc
    except sa.DBAPIError as exc:
        if not _is_unavailable(exc):
            raise
        raise DatabaseUnavailable(f"{url}: {_explain(exc)}") from exc


def _is_unavailable(exc: sa.DBAPIError) -> bool:
    if exc.connection_invalidated or isinstance(exc, sa.OperationalError):
        return True
    state = getattr(exc.orig, "sqlstate", None)
    if state:
        return state[:2] in _SQLSTATE_CLASSES or state in _NO_TABLE
    # SQLite says plain DatabaseError of a file that is malformed or no database. Its InterfaceError is about
    # a parameter; psycopg's is about the connection.
    driver = type(exc.orig).__module__.partition(".")[0]
    return type(exc) is sa.DatabaseError or (isinstance(exc, sa.InterfaceError) and driver != "sqlite3")


def _explain(exc: sa.DBAPIError) -> str:
    text = (str(exc.orig).strip().splitlines() or [type(exc.orig).__name__])[0]
    no_table = text.startswith(("no such table", "no such column"))
    if no_table or getattr(exc.orig, "sqlstate", None) in _NO_TABLE:
        return _REMEDY
    if text.startswith("unable to open database file"):
        return "there is no such file, or it cannot be opened; 'flask jobs migrate' creates it"
    return hide_password(text)


__all__ = ["translated"]
