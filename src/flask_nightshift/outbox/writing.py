"""Write rows of the outbox over the caller's connection, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, exc

from ..errors import DatabaseUnavailable
from ..store.tables import outbox
from ..store.unavailable import lacks_table
from .rows import Row

# our table has one place, whatever schemas the caller's tables are in
_AS_IT_IS: dict[str, Any] = {"schema_translate_map": {}}
_INSERT = outbox.insert()
_COLUMNS = tuple(outbox.c.keys())


def write(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert ``rows``.

    Raises ``DatabaseUnavailable`` if the table is missing; other errors are SQLAlchemy's, as of any statement of the
    caller.
    """
    try:
        connection.execute(
            _INSERT, [dict(zip(_COLUMNS, row, strict=True)) for row in rows], execution_options=_AS_IT_IS
        )
    except exc.DBAPIError as error:
        if not lacks_table(error):
            raise
        url = connection.engine.url.render_as_string(hide_password=True)
        raise DatabaseUnavailable(
            f"{url} has no outbox, so no job can wait there for a transaction: run 'flask jobs migrate', which makes "
            "our tables in the history database and in that of SQLALCHEMY_DATABASE_URI."
        ) from error


__all__ = ["write"]
