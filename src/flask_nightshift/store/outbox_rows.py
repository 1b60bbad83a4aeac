"""Look for rows of the outbox, and delete them, over a connection of ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, Connection, Text, any_, bindparam, delete, select, update

from .tables import outbox

WAITING = "waiting"
"""The state of a row whose message is not known to be in the broker."""
PUBLISHED = "published"
"""The state of a durable job's row whose message is in the broker."""
MOST_IDS = 500
"""Ids in one statement: older SQLite takes 999 parameters."""

_BY_LIST: Any = outbox.c.id.in_(bindparam("ids", expanding=True))
_BY_ARRAY: Any = outbox.c.id == any_(bindparam("ids", type_=ARRAY(Text)))


class _Statements(NamedTuple):
    """The statements about the rows ``ids``."""

    delete: Any
    select: Any
    publish: Any


def _statements(wanted: Any) -> _Statements:
    publish = update(outbox).where(wanted, outbox.c.state == WAITING)
    return _Statements(
        delete(outbox).where(wanted),
        select(outbox.c.id).where(wanted),
        publish.values(state=PUBLISHED, claimed_by=None),
    )


_WITH_LIST, _WITH_ARRAY = _statements(_BY_LIST), _statements(_BY_ARRAY)


def wanted(connection: Connection) -> Any:
    """The condition that a row is one of the parameter ``ids``, a list.

    PostgreSQL gets it as an array: 500 parameters cost both sides more than the rows.
    """
    return _BY_ARRAY if connection.dialect.name == "postgresql" else _BY_LIST


def _for(connection: Connection) -> _Statements:
    return _WITH_ARRAY if connection.dialect.name == "postgresql" else _WITH_LIST


def erase(connection: Connection, ids: Sequence[str]) -> None:
    """Delete the rows ``ids``; those that are gone already are no error."""
    for some in _parts(ids):
        connection.execute(_for(connection).delete, {"ids": some})


def published(connection: Connection, ids: Sequence[str]) -> None:
    """The broker has the messages of the durable jobs' rows ``ids``, which stay until the jobs have ended."""
    for some in _parts(ids):
        connection.execute(_for(connection).publish, {"ids": some})


def present(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Which of the rows ``ids`` are there, so that their transaction has committed."""
    query = _for(connection).select
    return {found for some in _parts(ids) for found in connection.execute(query, {"ids": some}).scalars()}


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for at in range(0, len(ids), MOST_IDS):
        yield list(ids[at : at + MOST_IDS])


__all__ = ["MOST_IDS", "PUBLISHED", "WAITING", "erase", "present", "published", "wanted"]
