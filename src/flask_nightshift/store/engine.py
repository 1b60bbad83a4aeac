"""SQLAlchemy engines with time limits, safe for several processes at once.

SQLite: write-ahead log. A writer takes the lock when its transaction begins (``BEGIN IMMEDIATE``) and waits for its
turn, so that no transaction fails halfway with "database is locked". Only ``Store.migrate()`` creates the file: a
missing file is an error, not a new empty database.

PostgreSQL: psycopg 3 or psycopg2. An idle connection is tested before use. We keep nothing in a server session (no
prepared statements, ``SET``, session locks), because PgBouncer in transaction mode may give each transaction another
session.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc
from sqlalchemy.pool import QueuePool

from ..config.database_url import with_driver
from ..lifetime.fork_gate import gate
from .deadline import deadline
from .unavailable import READ_ONLY, sqlstate

CACHE_KIB = 512
"""KiB of pages that a SQLite connection keeps, instead of 2,000: the system keeps the file in memory, too."""
CONNECT_TIMEOUT = 3
"""Maximum seconds to connect."""
PING_TIMEOUT = 2.0
"""Seconds within which an idle PostgreSQL connection must answer a test."""
IDLE = 1.0
"""Seconds of rest after which a pooled PostgreSQL connection is tested before use."""
WRITE = "nightshift_write"
"""The execution option that makes a SQLite transaction take the write lock at its start."""
WAIT = "nightshift_wait"
"""The execution option with the maximum seconds to wait for that lock."""


def normalise(url: URL) -> URL:
    """``url`` with the driver to use; raises ``ConfigurationError`` for an unsupported database."""
    return with_driver(url)


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite URL; None without one: PostgreSQL, in-memory SQLite, or a ``file:`` URI."""
    path = url.database
    if url.get_backend_name() != "sqlite" or not path or path == ":memory:" or path.startswith("file:"):
        return None
    return Path(path)


def build(url: URL, *, shared: bool = False) -> Engine:
    """A new engine for a normalised ``url``, which connects on first use.

    ``shared``: a SQLite file is also the app's, and the app decides its journal mode.
    """
    return _postgresql(url) if url.get_backend_name() == "postgresql" else _sqlite(url, shared)


def _postgresql(url: URL) -> Engine:
    psycopgs: dict[str, Any] = {"prepare_threshold": None} if url.get_driver_name() == "psycopg" else {}
    # without this, psycopg2 makes a round trip for each row
    psycopg2s = {} if psycopgs else {"executemany_mode": "values_plus_batch"}
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=5,
        max_overflow=10,
        pool_timeout=CONNECT_TIMEOUT,
        pool_recycle=1800,
        pool_use_lifo=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": "nightshift",
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            **psycopgs,
        },
        **psycopg2s,
    )

    @event.listens_for(engine, "checkin")
    def rested(connection: Any, record: Any) -> None:  # noqa: ARG001
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def still_there(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001
        if time.monotonic() - record.info.get("used", time.monotonic()) < IDLE:
            return
        try:
            with deadline(connection, PING_TIMEOUT):
                alive = engine.dialect.do_ping(connection)
        except Exception as error:
            raise exc.DisconnectionError(str(error)) from error
        if not alive:
            raise exc.DisconnectionError("the server has closed the connection")

    @event.listens_for(engine, "handle_error")
    def begin_anew(context: Any) -> None:
        # when the database accepts writes again, an old session may still be read-only, or lead to a standby
        if sqlstate(context.original_exception) == READ_ONLY:
            context.is_disconnect = True

    return engine


def _sqlite(url: URL, shared: bool) -> Engine:
    path = sqlite_file(url)
    size: dict[str, int] = {"pool_size": 5, "max_overflow": 20}
    if not url.database or url.database == ":memory:":
        size = {"pool_size": 1, "max_overflow": 0}  # the connection is the database: threads take turns
    engine = create_engine(
        url,
        hide_parameters=True,  # arguments of jobs must not appear in logs
        poolclass=QueuePool,
        pool_timeout=CONNECT_TIMEOUT,
        connect_args={"check_same_thread": False},
        **size,
    )

    @event.listens_for(engine, "do_connect")
    def open_existing(dialect: Any, record: Any, args: list[Any], options: dict[str, Any]) -> None:  # noqa: ARG001
        options["isolation_level"] = None  # we begin transactions, not the driver
        if path is not None:
            args[0] = f"file:{quote(str(path))}?mode=rw"
            options["uri"] = True

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: Any) -> None:
        record.info["file"] = _identity(path)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if not shared:
            _use_wal(connection)
        if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
            # only here: with another journal mode, this may corrupt the file
            connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "checkout")
    def same_file(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001
        # a moved or replaced file still accepts writes through its descriptor, and they would be lost
        if record.info.get("file") != _identity(path):
            raise exc.DisconnectionError("the database file has been moved or replaced")

    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Begin a SQLite transaction; a writing one takes the write lock, or waits for it outside the gate."""
    options = connection.get_execution_options()
    until = time.monotonic() + options.get(WAIT, CONNECT_TIMEOUT)
    busy_timeout = f"PRAGMA busy_timeout = {int(options.get(WAIT, CONNECT_TIMEOUT) * 1000)}"
    if not options.get(WRITE):
        connection.exec_driver_sql(busy_timeout)
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            break
        except exc.OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > until:
                raise
        with gate.outside():
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - so that waiting processes do not march in step
    connection.exec_driver_sql(busy_timeout)


def _identity(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino
    return None


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to write-ahead logging, once in its life.

    The switch needs exclusive access and does not wait for it. If another process has the file, that process makes the
    switch.
    """
    until = time.monotonic() + CONNECT_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.01)


__all__ = ["CONNECT_TIMEOUT", "WAIT", "WRITE", "build", "normalise", "sqlite_file"]
