"""The database as the rest of Nightshift uses it: transactions with a time limit, and migrations.

A ``Store`` is created before a server forks and used afterwards. It opens no connection before its first use, and a
child process starts without connections. Methods about migrations import Alembic, which nothing else needs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, make_url, text

from ..errors import DatabaseUnavailable
from ..lifetime.fork_gate import gate
from ..lifetime.forks import reset_if_forked, when_forked
from . import engine as engines
from .deadline import deadline
from .unavailable import lacks_rights, translated

STATEMENT_SECONDS = 5.0
"""Default maximum seconds for a transaction, or for its wait for a lock."""

_inherited: list[Engine] = []


class Store:
    """The database at ``url`` (a SQLAlchemy URL; SQLite or PostgreSQL).

    ``shared``: the app keeps its own tables there. Then a SQLite file keeps its journal mode; otherwise it gets a
    write-ahead log.

    All methods raise ``DatabaseUnavailable`` within a time limit if the database is down, locked for too long, or not
    migrated.
    """

    def __init__(self, url: str, *, shared: bool = False) -> None:
        self._url = engines.normalise(make_url(url))
        self._url.get_dialect()  # import it now: a thread could import it during a fork, and block the child
        self._shared = shared
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        when_forked(self)

    @property
    def url(self) -> str:
        """The URL without its password, for display."""
        return self._url.render_as_string(hide_password=True)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine of this process."""
        reset_if_forked()
        with self._lock:
            if self._engine is None:
                self._engine = engines.build(self._url, shared=self._shared)
            return self._engine

    @contextlib.contextmanager
    def begin(self, *, timeout: float = STATEMENT_SECONDS) -> Iterator[Connection]:
        """A transaction that may write; it commits at the end of the block and rolls back on an error.

        ``timeout`` in seconds limits the wait for SQLite's lock, and on PostgreSQL the whole block. Do not nest two of
        them in one thread: on SQLite the inner one would wait for the outer one.
        """
        with self._transaction(timeout, write=True) as connection:
            yield connection

    @contextlib.contextmanager
    def read(self, *, timeout: float = STATEMENT_SECONDS) -> Iterator[Connection]:
        """A read-only transaction; on SQLite, it and writers do not wait for each other."""
        with self._transaction(timeout, write=False) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, timeout: float, *, write: bool) -> Iterator[Connection]:
        with (
            translated(self.url),
            self._gate(),
            self.engine.connect() as connection,
            self._bounded(connection, timeout),
        ):
            connection.execution_options(**{engines.WRITE: write, engines.WAIT: timeout})
            with connection.begin():
                yield connection

    def _gate(self) -> contextlib.AbstractContextManager[Any]:
        return gate.inside() if self._url.get_backend_name() == "sqlite" else contextlib.nullcontext()

    @contextlib.contextmanager
    def _bounded(self, connection: Connection, timeout: float) -> Iterator[None]:
        if connection.dialect.name == "sqlite":
            yield  # the only wait is at its beginning
        else:
            with deadline(connection.connection.driver_connection, timeout):
                yield

    def ping(self, timeout: float = 2.0) -> float:
        """Check that the database answers; returns the seconds that took."""
        started = time.perf_counter()
        with self.read(timeout=timeout) as connection:
            connection.execute(text("SELECT 1"))
        return time.perf_counter() - started

    def migrate(self) -> list[str]:
        """Update the tables, and create a missing SQLite file; returns the applied revisions.

        Several processes may call it at once: one works, the others wait and find nothing to do.
        """
        from . import causes, indexes, kinds, migration

        path = engines.sqlite_file(self._url)
        if path is not None:
            migration.create_file(path)
        try:
            applied = migration.run(self.begin)
            if self._url.get_backend_name() == "postgresql":
                indexes.build(self._autocommit, self.begin, migration.lacking_indexes)
            kinds.fill(self.read, self.begin)
            causes.fill(self.read, self.begin)
        except DatabaseUnavailable as exc:
            if not lacks_rights(exc.__cause__):
                raise
            raise DatabaseUnavailable(
                f"{exc}. Run 'flask jobs migrate' with a role that may make and alter tables, "
                "or give this one the right."
            ) from exc
        return applied

    @contextlib.contextmanager
    def _autocommit(self, timeout: float) -> Iterator[Connection]:
        """A connection of PostgreSQL whose statements are no transaction, for at most ``timeout`` seconds."""
        with (
            translated(self.url),
            self.engine.connect() as connection,
            self._bounded(connection, timeout),
        ):
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def pending_migrations(self) -> list[str]:
        """The revisions that ``migrate()`` would apply, oldest first."""
        from . import migration

        with self.read() as connection:
            return migration.pending(connection)

    def missing_tables(self) -> list[str]:
        """Our tables that were dropped; ``migrate()`` creates them again, empty."""
        from . import migration

        with self.read() as connection:
            return migration.missing_tables(connection)

    def missing_indexes(self) -> list[str]:
        """Our indexes that are missing or unfinished; ``migrate()`` builds them."""
        from . import migration

        with self.read() as connection:
            return [lacking.name for lacking in migration.lacking_indexes(connection)]

    def close(self) -> None:
        """Close all idle connections; the store can be used again."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def after_fork(self) -> None:
        """In a child process: start without connections."""
        self._lock = threading.Lock()
        if self._engine is not None:
            # do not use or close the parent's connections: closing one sends data over it
            _inherited.append(self._engine)
            self._engine = None


__all__ = ["STATEMENT_SECONDS", "Store"]
