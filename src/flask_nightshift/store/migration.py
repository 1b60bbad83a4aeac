"""Run this package's migrations with Alembic on a connection of the store, without an ``alembic.ini``."""

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
"""Our own version table, separate from that of the app's migrations in the same database."""
MIGRATION_SECONDS = 120.0
"""Maximum seconds for all migrations together, including the wait for another process."""

_DIRECTORY = Path(__file__).parent / "migrations"
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


def upgrade(connection: Connection) -> list[str]:
    """Apply missing migrations in the transaction of ``connection``; returns their revisions, oldest first."""
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
    """Names of our tables that were dropped although all migrations are applied."""
    if _applied(connection) != tuple(_known()[:1]):
        return []
    return sorted(set(tables.metadata.tables) - set(inspect(connection).get_table_names()))


def _applied(connection: Connection) -> tuple[str, ...]:
    """The revision of the database; none if it was never migrated."""
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_heads()


def _known() -> list[str]:
    """The revisions of this version of the package, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def _restore(connection: Connection) -> None:
    """Create dropped tables again, empty; a migration of the app may have dropped them."""
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

__all__ = ["MIGRATION_SECONDS", "VERSION_TABLE", "create_file", "missing_tables", "pending", "upgrade"]
