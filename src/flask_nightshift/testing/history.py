"""The history of a test: a SQLite database in memory, written in the thread that reads it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, inspect

from ..journal import Journal
from ..store import Store, migration
from ..store.tables import markers

URL = "sqlite://"
_free: list[Engine] = []
"""The connections of tests that have ended."""


class MemoryHistory(Store):
    """A migrated database in memory. It calls ``before_use`` before each transaction, to write what was observed."""

    def __init__(self) -> None:
        super().__init__(URL)
        self.before_use: Callable[[], object] = lambda: None
        if _free:
            self._engine = _free.pop()  # it has compiled our statements
        template = _template().engine.raw_connection()
        mine = self.engine.raw_connection()
        try:
            source: Any = template.driver_connection
            source.backup(mine.driver_connection)
        finally:
            mine.close()
            template.close()

    def close(self) -> None:
        """Leave the connection to the next test."""
        engine, self._engine = self._engine, None
        if engine is not None:
            _free.append(engine)

    @contextlib.contextmanager
    def _transaction(self, timeout: float, *, write: bool) -> Iterator[Connection]:
        self.before_use()
        with super()._transaction(timeout, write=write) as connection:
            yield connection


@cache
def _template() -> Store:
    """A migrated database, which each test copies: a migration takes 100 ms, a copy one."""
    made = Store(URL)
    made.migrate()
    return made


def make_tables(connection: Connection) -> None:
    """Make our tables in the caller's transaction, unless its database has them: they end with it."""
    if inspect(connection).has_table(markers.name):
        return
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite" and not driver.in_transaction:
        connection.exec_driver_sql("BEGIN")  # Python's driver would commit each CREATE TABLE by itself
    migration.create(connection)


class StillJournal(Journal):
    """A journal without a thread: what it has observed is written before somebody reads."""

    def __init__(self, store: MemoryHistory, *, history: str) -> None:
        super().__init__(store, history=history)
        self._writing = threading.RLock()
        self._busy = False
        store.before_use = self.flush

    def _rouse(self) -> None:
        """Do nothing: it has no thread."""

    def _make_room(self) -> None:
        self.flush()

    def flush(self, timeout: float = 5.0) -> bool:  # noqa: ARG002 - as the journal's
        """Write everything, unless it is being written."""
        with self._writing:
            if self._busy:
                return True
            self._busy = True
            try:
                while self._has_work():
                    self.turn()
            finally:
                self._busy = False
        return True

    def close(self, timeout: float = 5.0) -> None:  # noqa: ARG002 - as the journal's
        """Write everything."""
        self.flush()


__all__ = ["URL", "MemoryHistory", "StillJournal", "make_tables"]
