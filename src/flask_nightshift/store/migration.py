"""Alembic without an ``alembic.ini``: the migrations of this package on a connection of the store."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

VERSION_TABLE = "nightshift_alembic_version"
"""Our own, so that the app's migrations in the same database are left alone."""
TIMEOUT = 120.0
"""Seconds that all migrations together may take, waiting for another process included."""

_DIRECTORY = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6E69676874  # "night": a number that no one else is likely to lock
_lock = threading.Lock()  # alembic keeps what it is doing in module globals

logger = logging.getLogger(__name__)


def create_file(path: Path) -> None:
    """An empty SQLite database, unless there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


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
    return missing


def pending(connection: Connection) -> list[str]:
    """The revisions that are missing, oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    applied = context.get_current_heads()
    known = [script.revision for script in scripts.walk_revisions()]  # newest first
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

__all__ = ["TIMEOUT", "VERSION_TABLE", "create_file", "pending", "upgrade"]
