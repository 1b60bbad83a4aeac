"""``INSERT … ON CONFLICT``: the same syntax in SQLite and PostgreSQL, but separate APIs in SQLAlchemy.

``Upsert`` writes thousands of rows. SQLAlchemy compiles the statement and supplies the converter of each column, and we
pass the rows to the driver, because SQLAlchemy's ``executemany`` costs more than twice the time of the database. SQLite
gets several rows per statement: for each statement its driver releases the GIL and must win it back from a thread that
runs jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.engine import Dialect

from .types import SafeText, UtcDateTime, sqlite_times

GROUP = 50
"""Rows per statement on SQLite."""
PART = 10 * GROUP
"""Rows that are converted together: their copies for the driver take a kilobyte each."""


def insert(dialect: str, table: Table) -> Any:
    """An insert into ``table`` that has ``on_conflict_do_update()`` and ``on_conflict_do_nothing()``.

    ``dialect`` is the name of the SQLAlchemy dialect. Only that dialect is imported.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def replace(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Write a whole row: insert it, or overwrite the row with the same primary key."""
    keys = [column.name for column in table.primary_key]
    statement = insert(connection.dialect.name, table).values(**values)
    changes = {name: statement.excluded[name] for name in values if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changes))


DIALECTS = 8
"""Dialects for which the compiled upserts of a table are kept: each engine has its own, and tests make many."""


class Upsert:
    """An upsert of rows that have every column of ``table`` in its order, compiled for one dialect.

    ``changes`` returns the new values of an existing row, given the statement (for its ``excluded`` row), and ``where``
    the condition under which it changes. Constants in them must be ``literal_column``, part of the statement, because
    the driver gets only the values of the rows.

    ``usual``: sets of columns. If all other columns of the rows are NULL, the statement names only such a set: with
    half of the columns it costs half of the time.
    """

    def __init__(
        self,
        table: Table,
        dialect: Dialect,
        changes: Callable[[Any], dict[str, Any]],
        where: Callable[[Any], Any] = lambda statement: None,  # noqa: ARG005
        usual: Sequence[Collection[str]] = (),
    ) -> None:
        statement = insert(dialect.name, table)
        statement = statement.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key],
            set_=changes(statement),
            where=where(statement),
        )
        names = [column.name for column in table.columns]
        self._statements = [
            _Statement(statement, table, dialect, [name for name in names if name in some])
            for some in (*usual, names)
        ]

    def run(self, connection: Connection, rows: Sequence[Sequence[Any]], *same: Any) -> int:
        """Write ``rows`` in order; returns the number of rows that were written (those that ``where`` allows).

        ``same`` are the values of the table's last columns, if all rows have the same and do not contain them.
        """
        parts = (rows[at : at + PART] for at in range(0, len(rows), PART))
        return sum(self._run(connection, part, same) for part in parts)

    def _run(self, connection: Connection, rows: Sequence[Sequence[Any]], same: Sequence[Any]) -> int:
        columns: list[Sequence[Any]] = [*zip(*rows, strict=True), *([value] * len(rows) for value in same)]
        given = {at for at, column in enumerate(columns) if column.count(None) < len(column)}
        statement = next(each for each in self._statements if given <= each.positions)
        return statement.run(connection, columns)


class _Statement:
    """The statement for some of the table's columns."""

    def __init__(self, statement: Any, table: Table, dialect: Dialect, names: list[str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=names)
        in_order = compiled.positiontup or names
        every = [column.name for column in table.columns]
        self._at = [every.index(name) for name in in_order]
        self.positions = set(self._at)
        self._sql = compiled.string
        self._names = None if compiled.positional else names
        # positional parameters mean SQLite; a PostgreSQL statement must not change a row twice, and psycopg pipelines
        self._group_sql = ""
        if compiled.positional:
            row = f"({', '.join('?' * len(names))})"
            self._group_sql = compiled.string.replace(row, ", ".join([row] * GROUP), 1)
        self._writers = [_writer(table.c[name].type, dialect) for name in in_order]

    def run(self, connection: Connection, columns: Sequence[Sequence[Any]]) -> int:
        chosen = [write(columns[at]) for at, write in zip(self._at, self._writers, strict=True)]
        written: list[Any] = list(zip(*chosen, strict=True))
        if self._names:
            written = [dict(zip(self._names, row, strict=True)) for row in written]
        grouped = len(written) // GROUP * GROUP if self._group_sql else 0
        done = 0
        for at in range(0, grouped, GROUP):
            values = tuple(chain.from_iterable(written[at : at + GROUP]))
            done += connection.exec_driver_sql(self._group_sql, values).rowcount
        if grouped < len(written):
            done += connection.exec_driver_sql(self._sql, written[grouped:]).rowcount
        return done


Column = Sequence[Any]


def _writer(kind: Any, dialect: Dialect) -> Callable[[Column], Column]:
    """What converts a column's values for the driver; by column, because most values need no call of their own."""
    write = kind.dialect_impl(dialect).bind_processor(dialect)
    if write is None:
        return lambda column: column
    if isinstance(kind, SafeText):
        return lambda column: _texts(column, write)
    if isinstance(kind, UtcDateTime) and dialect.name == "sqlite":
        return sqlite_times
    return lambda column: [None if value is None else write(value) for value in column]


def _texts(column: Column, write: Callable[[Any], Any]) -> Column:
    distinct = set(column)
    if len(distinct) * 4 > len(column):
        return [write(value) for value in column]
    known = {value: write(value) for value in distinct}
    return [known[value] for value in column]


__all__ = ["DIALECTS", "Upsert", "insert", "replace"]
