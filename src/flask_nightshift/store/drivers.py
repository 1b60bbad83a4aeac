"""What the driver of a database knows of a transaction: SQLAlchemy may believe in one that the database does not have.

The database has none in AUTOCOMMIT, after ``COMMIT`` in raw SQL, and on SQLite after the release of a savepoint with
which the transaction began.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

_IDLE = 0
"""libpq's ``PQTRANS_IDLE``, as psycopg and psycopg2 tell it."""


def in_transaction(connection: Connection) -> bool:
    """Whether the database is in a transaction; True if the driver does not tell."""
    try:
        return _tells(connection) is not False
    except Exception:  # noqa: BLE001 - a connection that somebody has closed; no listener raises out of a rollback
        return True


def commits_each_statement(connection: Connection) -> bool:
    """Whether the database commits each statement by itself, although ``connection`` has begun a transaction."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite":
        automatic = driver.isolation_level is None or getattr(driver, "autocommit", None) is True
    else:
        automatic = bool(getattr(driver, "autocommit", False))
    return automatic and not _tells(connection)  # somebody may have sent a BEGIN


def _tells(connection: Connection) -> bool | None:
    """Whether the database is in a transaction; None if the driver does not tell."""
    found: Any = connection.connection.dbapi_connection
    driver = connection.dialect.get_driver_connection(found)  # within an adapter for asyncio
    if connection.dialect.name == "sqlite":
        return bool(driver.in_transaction)
    status = getattr(getattr(driver, "info", None), "transaction_status", None)
    return None if status is None else status != _IDLE


__all__ = ["commits_each_statement", "in_transaction"]
