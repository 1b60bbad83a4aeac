"""Run this package's migrations with Alembic on a connection of the store, without an ``alembic.ini``.

Several containers may start, and migrate, at once. A process that does not get the lock holds no transaction while it
waits: on PostgreSQL, its snapshot would hold up the build of an index elsewhere (``indexes.py``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

import flask_nightshift_alembic

from ..errors import DatabaseUnavailable
from . import identity, indexes, tables
from .unavailable import LOCK_TIMEOUT, sqlstate

VERSION_TABLE = "nightshift_alembic_version"
"""Our own version table, separate from that of the app's migrations in the same database."""
MIGRATION_SECONDS = 120.0
"""Maximum seconds for all migrations together, including the wait for another process."""

_DIRECTORY = Path(__file__).parent / "migrations"
TABLE_LOCK_SECONDS = 2
"""Seconds that a migration waits for a table on PostgreSQL before it steps back; others wait behind it meanwhile."""

_ADVISORY_LOCK = 0x6E69676874  # "night": a number that nothing else is likely to lock
_lock = threading.Lock()  # Alembic keeps its state in module globals

logger = logging.getLogger(__name__)

# Alembic has already registered it through its entry point, unless the installation has no metadata
with contextlib.suppress(ValueError):
    Plugin.setup_plugin_from_module(flask_nightshift_alembic, flask_nightshift_alembic.NAME)


def create_file(path: Path) -> None:
    """Create an empty SQLite database if there is none; raises ``DatabaseUnavailable`` if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as exc:
        raise DatabaseUnavailable(
            f"{path} cannot be made: {exc.strerror or exc}. Let the app write to {path.parent}, "
            "or set NIGHTSHIFT_DATABASE_URL."
        ) from exc


Begin = Callable[..., contextlib.AbstractContextManager[Connection]]


def run(begin: Begin) -> list[str]:
    """Apply missing migrations, each attempt in a transaction of ``begin``; returns their revisions, oldest first.

    Raises ``DatabaseUnavailable`` if another process, or another transaction that uses our tables, holds it up for
    longer than ``MIGRATION_SECONDS``.
    """
    until = time.monotonic() + MIGRATION_SECONDS
    while True:
        why = "another process migrates it"
        try:
            with begin(timeout=MIGRATION_SECONDS) as connection:
                if _locked(connection):
                    return upgrade(connection)
        except DatabaseUnavailable as exc:
            if sqlstate(getattr(exc.__cause__, "orig", None)) != LOCK_TIMEOUT:
                raise
            why = f"another transaction uses our tables: {exc}"
        if time.monotonic() > until:
            raise DatabaseUnavailable(f"not migrated within {MIGRATION_SECONDS:g} s, because {why}")
        time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - so that waiting processes do not march in step


def _locked(connection: Connection) -> bool:
    """Whether no other process migrates now, nor can before the transaction ends."""
    if connection.dialect.name != "postgresql":
        return True  # the transaction holds SQLite's write lock
    asked = text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK}
    if not connection.execute(*asked).scalar_one():
        return False
    connection.execute(text(f"SET LOCAL lock_timeout = '{TABLE_LOCK_SECONDS}s'"))
    connection.execute(
        text("SET LOCAL statement_timeout = 0")
    )  # a role's limit is meant for ordinary statements
    return True


def upgrade(connection: Connection) -> list[str]:
    """Apply missing migrations in the transaction of ``connection``; returns their revisions, oldest first."""
    with _lock:
        missing = pending(connection)
        if missing:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        _restore(connection)
    identity.ensure(connection)
    return missing


def create(connection: Connection) -> None:
    """Make all tables in the transaction of ``connection``, as the migrations would; for a database without any."""
    with _lock:
        tables.metadata.create_all(connection)
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        context.stamp(ScriptDirectory.from_config(_config()), "head")
    identity.ensure(connection)


def missing_tables(connection: Connection) -> list[str]:
    """Names of our tables that were dropped although all migrations are applied."""
    if not is_current(connection):
        return []
    return sorted(set(tables.metadata.tables) - set(inspect(connection).get_table_names()))


def is_current(connection: Connection) -> bool:
    """Whether exactly the migrations of this version of the package are applied."""
    return _applied(connection) == _known()[:1]


def lacking_indexes(connection: Connection) -> list[indexes.Declared]:
    """Our indexes that are missing or unfinished although all migrations are applied."""
    return indexes.missing(connection) if is_current(connection) else []


def _applied(connection: Connection) -> tuple[str, ...]:
    """The revision of the database; none if it was never migrated."""
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()


@cache
def _known() -> tuple[str, ...]:
    """The revisions of this version of the package, newest first. To read them, Alembic runs the module of each."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _restore(connection: Connection) -> None:
    """Create dropped tables again, empty; a migration of the app may have dropped them."""
    if lost := missing_tables(connection):
        logger.error("store.tables_were_missing", extra={"tables": lost})
        tables.metadata.create_all(connection, tables=[tables.metadata.tables[name] for name in lost])
    if connection.dialect.name == "sqlite":
        for lacking in lacking_indexes(connection):
            lacking.definition.create(connection)


def pending(connection: Connection) -> list[str]:
    """The revisions that are missing, oldest first."""
    applied, known = _applied(connection), _known()
    if any(revision not in known for revision in applied):
        logger.warning("store.newer_tables", extra={"revisions": list(applied)})
        return []
    newest = min((known.index(revision) for revision in applied), default=len(known))
    return list(reversed(known[:newest]))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["MIGRATION_SECONDS", "VERSION_TABLE", "create", "create_file", "is_current", "lacking_indexes",
           "missing_tables", "pending", "run", "upgrade"]  # fmt: skip
