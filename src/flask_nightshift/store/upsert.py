"""``INSERT … ON CONFLICT``: the same syntax in SQLite and PostgreSQL, but separate APIs in SQLAlchemy.

``Upsert`` writes thousands of rows. SQLAlchemy compiles the statement and supplies the converter of each column, and we
pass the rows to the driver, because SQLAlchemy's ``executemany`` costs more than twice the time of the database. SQLite
gets several rows per statement: for each statement its driver releases the GIL and must win it back from a thread that
runs jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.engine import Dialect

GROUP = 50
"""Rows per statement on SQLite."""


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


class Upsert:
    """An upsert of rows that contain every column of ``table``, compiled for one dialect.

    ``changes`` returns the new values of an existing row, given the statement (for its ``excluded`` row). Constants in
    it must be ``literal_column``, part of the statement, because the driver gets only the values of the rows.
    """

    def __init__(self, table: Table, dialect: Dialect, changes: Callable[[Any], dict[str, Any]]) -> None:
        statement = insert(dialect.name, table)
        statement = statement.on_conflict_do_update(
            index_elements=[column.name for column in table.primary_key], set_=changes(statement)
        )
        names = [column.name for column in table.columns]
        compiled = statement.compile(dialect=dialect, column_keys=names)
        self._sql = compiled.string
        self._names = None if compiled.positional else names
        # positional parameters mean SQLite; a PostgreSQL statement must not change a row twice, and psycopg pipelines
        self._group_sql = ""
        if compiled.positional:
            self._group_sql = statement.values([dict.fromkeys(names)] * GROUP).compile(dialect=dialect).string
        in_order = compiled.positiontup or names
        self._values = itemgetter(*in_order)
        self._writers = [
            table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in in_order
        ]

    def run(self, connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
        """Write ``rows`` in order."""
        columns = zip(*map(self._values, rows), strict=True)
        written: list[Any] = list(zip(*map(_written, columns, self._writers), strict=True))
        if self._names:
            written = [dict(zip(self._names, row, strict=True)) for row in written]
        grouped = len(written) // GROUP * GROUP if self._group_sql else 0
        for at in range(0, grouped, GROUP):
            connection.exec_driver_sql(self._group_sql, tuple(chain(*written[at : at + GROUP])))
        if grouped < len(written):
            connection.exec_driver_sql(self._sql, written[grouped:])


def _written(column: Sequence[Any], write: Callable[[Any], Any] | None) -> Sequence[Any]:
    """The values of one column for the driver; by column, because most columns need no call per value."""
    if write is None or column.count(None) == len(column):
        return column
    return [None if value is None else write(value) for value in column]


__all__ = ["Upsert", "insert", "replace"]
