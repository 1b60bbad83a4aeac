"""Which errors of a database say that it cannot be used now, and which that it refuses what is to be stored.

An outage passes, so whatever met one is tried again. Content stays what it is: trying it again stops everything behind
it (invariant 14). The class of the error decides: PostgreSQL's SQLSTATE, SQLite's result code, and for errors that the
driver raises before it asks the database their type. What cannot be classified counts as an outage, because an outage
loses nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy import exc as sa

from ..errors import DatabaseUnavailable
from ..text.passwords import hide_password

_CONTENT_CLASSES = ("21", "22", "23", "44", "54", "P0")
"""Cardinality, data, constraint, check option, a limit (a key too long for an index), what a trigger raises."""
_CONTENT_CODES = (
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
)
_PSYCOPG_CONTENT = (sa.DataError, sa.IntegrityError, sa.NotSupportedError, sa.ProgrammingError)
"""What psycopg raises before the server is asked; a connection that is gone is an ``OperationalError``."""
_NO_TABLE = ("42P01", "42703")
_NO_RIGHT = "42501"
READ_ONLY = "25006"
"""The SQLSTATE of a write in a session that may only read."""
_NOT_STORABLE = (ArithmeticError, TypeError, ValueError, RecursionError)
"""What Python or a driver raises for a value that cannot be written: too large an integer, half a character, …"""
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
        if is_content(exc):
            raise
        raise DatabaseUnavailable(f"{url}: {_explain(exc)}") from exc


def is_content(exc: BaseException) -> bool:
    """Whether ``exc`` is about what was to be stored, so that trying again changes nothing."""
    if not isinstance(exc, sa.DBAPIError):
        cause = exc.orig if isinstance(exc, sa.StatementError) else exc
        return isinstance(cause, _NOT_STORABLE)
    if exc.connection_invalidated:
        return False
    if state := sqlstate(exc.orig):
        return state[:2] in _CONTENT_CLASSES
    code = getattr(exc.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _CONTENT_CODES  # the upper bits tell which kind of constraint, and the like
    if isinstance(exc.orig, sqlite3.Error):  # raised by Python's module, which has no type for such values
        return isinstance(exc, sa.DataError) or str(exc.orig).startswith("Error binding parameter")
    return isinstance(exc, _PSYCOPG_CONTENT)


def sqlstate(exc: BaseException | None) -> str:
    """PostgreSQL's five characters in an error of psycopg or psycopg2; empty if the server said none."""
    return str(getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None) or "")


def lacks_rights(exc: BaseException | None) -> bool:
    """Whether the database said that the role, or the owner of the process, may not do that."""
    if not isinstance(exc, sa.DBAPIError):
        return False
    code = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
    return sqlstate(exc.orig) == _NO_RIGHT or code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def _explain(exc: sa.DBAPIError) -> str:
    text = (str(exc.orig).strip().splitlines() or [type(exc.orig).__name__])[0]
    no_table = text.startswith(("no such table", "no such column"))
    if no_table or sqlstate(exc.orig) in _NO_TABLE:
        return _REMEDY
    if text.startswith("unable to open database file"):
        return "there is no such file, or it cannot be opened; 'flask jobs migrate' creates it"
    return hide_password(text)


__all__ = ["READ_ONLY", "is_content", "lacks_rights", "sqlstate", "translated"]
