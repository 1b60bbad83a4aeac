"""Distinguish database errors that mean an outage from those that refuse the content.

An outage passes, so the operation is repeated. Content does not change, and repeating it would block everything behind
it (invariant 14). The class of the error decides: PostgreSQL's SQLSTATE, SQLite's result code, or the type of an error
that the driver raises before it asks the database. An unknown error counts as an outage, because an outage loses
nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from sqlalchemy import exc as sa

from ..errors import DatabaseUnavailable
from ..text.passwords import hide_password

_CONTENT_CLASSES = ("21", "22", "23", "44", "54", "P0")
"""Cardinality, data, constraint, check option, a limit (a key too long for an index), errors of triggers."""
_CONTENT_CODES = (
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
)
_PSYCOPG_CONTENT = (sa.DataError, sa.IntegrityError, sa.NotSupportedError, sa.ProgrammingError)
"""Errors that psycopg raises before it asks the server; a lost connection is an ``OperationalError``."""
_NO_TABLE = ("42P01", "42703")
_NO_RIGHT = "42501"
LOCK_TIMEOUT = "55P03"
"""The SQLSTATE of a wait for a lock that took longer than PostgreSQL's ``lock_timeout``."""
_CONTENTION = (LOCK_TIMEOUT, "40001", "40P01")
READ_ONLY = "25006"
"""The SQLSTATE of a write in a read-only session."""
_NOT_STORABLE = (ArithmeticError, TypeError, ValueError, RecursionError)
"""Errors of Python or a driver for a value that cannot be written: an integer too large, half a character, …"""
_REMEDY = "its tables are missing or of another version: run 'flask jobs migrate'"


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn errors that mean an outage into ``DatabaseUnavailable``; others pass.

    The message names ``url`` without its password.
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
    """Whether ``exc`` is about the content, so that repeating the write changes nothing."""
    if not isinstance(exc, sa.DBAPIError):
        cause = exc.orig if isinstance(exc, sa.StatementError) else exc
        return isinstance(cause, _NOT_STORABLE)
    if exc.connection_invalidated:
        return False
    if state := sqlstate(exc.orig):
        return state[:2] in _CONTENT_CLASSES
    code = getattr(exc.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _CONTENT_CODES  # the upper bits give details
    if isinstance(exc.orig, sqlite3.Error):  # of Python's module, which has no type for such values
        return isinstance(exc, sa.DataError) or str(exc.orig).startswith("Error binding parameter")
    return isinstance(exc, _PSYCOPG_CONTENT)


def sqlstate(exc: BaseException | None) -> str:
    """The SQLSTATE in an error of psycopg or psycopg2; empty if the server sent none."""
    return str(getattr(exc, "sqlstate", None) or getattr(exc, "pgcode", None) or "")


def is_contention(exc: BaseException) -> bool:
    """Whether the database refused because another transaction is at work; a new transaction may succeed."""
    if not isinstance(exc, sa.DBAPIError):
        return False
    code = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
    return sqlstate(exc.orig) in _CONTENTION or code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def lacks_rights(exc: BaseException | None) -> bool:
    """Whether the database refused because the role, or the owner of the process, lacks permission."""
    if not isinstance(exc, sa.DBAPIError):
        return False
    code = getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF
    return sqlstate(exc.orig) == _NO_RIGHT or code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def lacks_table(exc: sa.DBAPIError) -> bool:
    """Whether the database refused because a table or a column is missing."""
    return str(exc.orig).startswith(("no such table", "no such column")) or sqlstate(exc.orig) in _NO_TABLE


def _explain(exc: sa.DBAPIError) -> str:
    text = (str(exc.orig).strip().splitlines() or [type(exc.orig).__name__])[0]
    if lacks_table(exc):
        return _REMEDY
    if text.startswith("unable to open database file"):
        return "there is no such file, or it cannot be opened; 'flask jobs migrate' creates it"
    return hide_password(text)


__all__ = [
    "LOCK_TIMEOUT",
    "READ_ONLY",
    "is_content",
    "is_contention",
    "lacks_rights",
    "lacks_table",
    "sqlstate",
    "translated",
]
