"""Indexes on tables that hold rows: PostgreSQL builds them CONCURRENTLY, so nobody waits for the build.

``CREATE INDEX CONCURRENTLY`` runs outside of a transaction, after the migrations, and builds what ``tables.py``
declares and the database lacks. So a build that was interrupted, which leaves an invalid index, is done again by the
next ``migrate``, without a record of it.

The build waits for the end of every transaction with an older snapshot. Therefore a process that waits for another
one's build polls, without a transaction. The builder's own lock is held by a second connection in a transaction that
keeps no snapshot (READ COMMITTED, and no query is open). A session lock would outlive its owner behind PgBouncer.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from alembic import op
from sqlalchemy import Connection, Index, Table, TextClause, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from ..errors import DatabaseUnavailable
from . import tables
from .unavailable import LOCK_TIMEOUT, sqlstate

BUILD_SECONDS = 3600.0
"""Maximum seconds for a build, which also waits for the transactions of others."""
OTHERS_SECONDS = 120.0
"""Maximum seconds to wait for the build of another process; then it goes on without us."""

_ADVISORY_LOCK = 0x6E69676875  # beside that of the migrations: who waits for that one may hold a snapshot
_DEADLOCK = "40P01"
_TRIES = 5

_STATES = text("""
    SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)
""")
_BUSY = text("""
    SELECT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'relation' AND granted AND mode = 'ShareUpdateExclusiveLock'
        AND relation = to_regclass(:table) AND pid <> pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    )
""")

logger = logging.getLogger(__name__)


class Declared(NamedTuple):
    """An index that ``tables.py`` declares."""

    name: str
    table: Table
    definition: Index


def create_later(name: str, table: str, columns: Sequence[str | TextClause]) -> None:
    """In a migration: create an index on a table that may hold rows.

    SQLite does it at once. On PostgreSQL ``build`` does it after the migration, because ``tables.py`` declares it.
    """
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(name, table, list(columns))


def missing(connection: Connection) -> list[Declared]:
    """Our indexes that the database lacks or did not finish, on tables that exist."""
    dialect = connection.dialect.name
    found = _on_postgresql(connection) if dialect == "postgresql" else _on_sqlite(connection)
    there = set(inspect(connection).get_table_names())
    return [each for each in _declared(dialect) if each.table.name in there and not found.get(each.name)]


def build(autocommit: Callable[[float], contextlib.AbstractContextManager[Connection]],
          begin: Callable[..., contextlib.AbstractContextManager[Connection]],
          lacking: Callable[[Connection], list[Declared]]) -> list[str]:  # fmt: skip
    """Build what ``lacking`` finds missing on PostgreSQL; returns the names of the indexes that this process built.

    ``autocommit(seconds)`` and ``begin(timeout=seconds)`` give connections. Raises ``DatabaseUnavailable`` if an index
    cannot be built.
    """
    until = time.monotonic() + OTHERS_SECONDS
    while True:
        # a small pooler may have no connection left while another process builds
        with begin(timeout=OTHERS_SECONDS) as connection:
            if not lacking(connection):
                return []
        with _lock(begin) as ours:
            if ours:
                with autocommit(BUILD_SECONDS) as connection:
                    return [_build(connection, each) for each in lacking(connection)]
        if time.monotonic() > until:
            logger.warning("store.indexes_are_being_built", extra={"seconds": OTHERS_SECONDS})
            return []
        time.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - so that waiting processes do not march in step


@contextlib.contextmanager
def _lock(begin: Callable[..., contextlib.AbstractContextManager[Connection]]) -> Iterator[bool]:
    """Whether this process may build; if so, no other one does before the block ends."""
    with begin(timeout=BUILD_SECONDS) as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))  # keeps no snapshot
        asked = text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
        if connection.execute(*asked).scalar_one():
            # this also closes the portal of the query before, which keeps its snapshot until then
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            yield True
            return
    yield False  # the transaction is over


def _build(connection: Connection, declared: Declared) -> str:
    name, table = declared.name, declared.table.name
    has_rows = connection.execute(text(f"SELECT EXISTS (SELECT FROM {table})")).scalar_one()  # noqa: S608 - our name
    level = logging.WARNING if has_rows else logging.DEBUG  # a new database has nobody to warn
    logger.log(level, "store.index_is_being_built", extra={"index": name, "table": table})
    started = time.monotonic()
    for remaining in reversed(range(_TRIES)):
        try:
            _await_others(connection, table, started + BUILD_SECONDS)
            if _on_postgresql(connection).get(name):
                break  # the server has finished it for a process that is gone
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
            connection.exec_driver_sql(_concurrently(declared.definition, connection))
            break
        except DBAPIError as exc:
            if not remaining or sqlstate(exc.orig) not in (_DEADLOCK, LOCK_TIMEOUT):
                raise
            logger.info("store.index_is_built_again", extra={"index": name, "why": str(exc.orig)})
    logger.info("store.index_is_built", extra={"index": name, "seconds": time.monotonic() - started})
    return name


def _await_others(connection: Connection, table: str, until: float) -> None:
    """Wait while somebody builds an index on ``table`` or vacuums it; it may be the server, for a killed process."""
    while connection.execute(_BUSY, {"table": table}).scalar_one():
        if time.monotonic() > until:
            raise DatabaseUnavailable(
                f"an index of {table} was not built: somebody has locked the table for too long"
            )
        time.sleep(0.2)


def _concurrently(index: Index, connection: Connection) -> str:
    """The statement that builds ``index`` while others go on; the declaration is also that of new tables."""
    words = str(CreateIndex(index, if_not_exists=True).compile(dialect=connection.dialect))
    return words.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)


def _declared(dialect: str) -> list[Declared]:
    found = [
        Declared(str(each.name), table, each)
        for table in tables.metadata.sorted_tables
        for each in table.indexes
        if _is_of(each, dialect)
    ]
    return sorted(found, key=lambda declared: declared.name)


def _is_of(index: Index, dialect: str) -> bool:
    return bool(index.info.get(tables.DIALECT, dialect) == dialect)


def _on_postgresql(connection: Connection) -> dict[str, bool]:
    """Whether each index that our tables have is valid, by its name."""
    rows = connection.execute(_STATES, {"tables": list(tables.metadata.tables)})
    return {str(name): bool(valid) for name, valid in rows}


def _on_sqlite(connection: Connection) -> dict[str, bool]:
    # SQLAlchemy does not see indexes of expressions there
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index'").scalars()
    return dict.fromkeys(map(str, names), True)


__all__ = ["BUILD_SECONDS", "Declared", "build", "create_later", "missing"]
