"""Alembic without an ``alembic.ini``: the migrations of this package on a connection of the store."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

import flask_nightshift_alembic

from ..errors import DatabaseUnavailable
from . import tables

VERSION_TABLE = "nightshift_alembic_version"
"""Our own, so that the app's migrations in the same database are left alone."""
TIMEOUT = 120.0
"""Seconds that all migrations together may take, waiting for another process included."""

_DIRECTORY = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6E69676874  # "night": a number that no one else is likely to lock
_lock = threading.Lock()  # alembic keeps what it is doing in module globals

logger = logging.getLogger(__name__)

# Alembic has registered it by its entry point already, unless the installation has no metadata
with contextlib.suppress(ValueError):
    Plugin.setup_plugin_from_module(flask_nightshift_alembic, flask_nightshift_alembic.NAME)


def create_file(path: Path) -> None:
    """An empty SQLite database, unless there is one; raises ``DatabaseUnavailable`` where none can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as exc:
        raise DatabaseUnavailable(
            f"{path} cannot be made: {exc.strerror or exc}. Let the app write to {path.parent}, "
            "or set NIGHTSHIFT_DATABASE_URL."
        ) from exc


def upgrade(connection: Connection) -> list[str]:
    """Apply what is missing, in the transaction of ``connection``; the revisions applied, oldest first."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    with _lock:
        missing = pending(connection)
        if missing:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        _restore(connection)
    return missing


def missing_tables(connection: Connection) -> list[str]:
    """Our tables that should be there, by name: all migrations are applied, and somebody dropped them."""
    if _applied(connection) != tuple(_known()[:1]):
        return []
    return sorted(set(tables.metadata.tables) - set(inspect(connection).get_table_names()))


def _applied(connection: Connection) -> tuple[str, ...]:
    """The revision that the database has; none if it was never migrated."""
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()


def _known() -> list[str]:
    """The revisions of this version of the package, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _restore(connection: Connection) -> None:
    """Make tables anew, empty, that somebody dropped: a migration of the app's, perhaps."""
    if lost := missing_tables(connection):
        logger.error("store.tables_were_missing", extra={"tables": lost})
        tables.metadata.create_all(connection, tables=[tables.metadata.tables[name] for name in lost])


def pending(connection: Connection) -> list[str]:
    """The revisions that are missing, oldest first."""
    applied, known = _applied(connection), _known()
    if any(revision not in known for revision in applied):
        logger.warning("the database has been migrated by a newer version of Flask-Nightshift: %s", applied)
        return []
    newest = min((known.index(revision) for revision in applied), default=len(known))
    return known[:newest][::-1]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["TIMEOUT", "VERSION_TABLE", "create_file", "missing_tables", "pending", "upgrade"]
