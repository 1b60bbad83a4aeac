"""Find rows by the start or the end of an id, by indexes: among 1,000,000 jobs in milliseconds.

The start of an id is a range of the index of ids. The end: an index has the last four characters of each job's id,
in blocks of rows that were written together (``blocks.py``), and the search looks into each block. Dead letters are
few and written seldom, so the ends of their ids have an index without blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, and_, func, literal_column, select

from .collation import in_bytes
from .tables import dead_letters as letters
from .tables import jobs
from .types import KeyText

LEAST = 4
"""Number of characters of the end of an id that the index has; a search by less finds nothing."""
_LAST = chr(0x10FFFF)


def jobs_like(connection: Connection, given: str, limit: int) -> list[str]:
    """Up to ``limit`` ids of jobs that start or end with ``given``."""
    return _distinct(connection, (_start(jobs.c.id, given, connection), *_job_ends(given, connection)), limit)


def letters_like(connection: Connection, given: str, limit: int) -> list[str]:
    """Up to ``limit`` ids of dead letters of which the id, or that of the job, starts or ends with ``given``."""
    queries = []
    for column in (letters.c.id, letters.c.job_id):
        queries.append(_start(column, given, connection).with_only_columns(letters.c.id))
        if len(given) >= LEAST:
            queries.append(select(letters.c.id).where(_ends(column, given, connection)))
    return _distinct(connection, queries, limit)


def _start(column: Any, given: str, connection: Connection) -> Select[Any]:
    """The ids that start with ``given``, as a range: an index has them together."""
    compared = in_bytes(column, connection)
    return select(column).where(compared >= given, compared < given + _LAST)


def _job_ends(given: str, connection: Connection) -> Iterable[Select[Any]]:
    """The ids of jobs that end with ``given``: those in each block, and those that an older version wrote in none."""
    if len(given) < LEAST:
        return
    ends = _ends(jobs.c.id, given, connection)
    first = select(func.min(jobs.c.block).label("block"))
    block = first.cte("blocks", recursive=True)
    following = select(func.min(jobs.c.block)).where(jobs.c.block > block.c.block).scalar_subquery()
    block = block.union_all(select(following).where(block.c.block.is_not(None)))
    yield select(jobs.c.id).select_from(block.join(jobs, jobs.c.block == block.c.block)).where(ends)
    yield select(jobs.c.id).where(jobs.c.block.is_(None), ends)


def _ends(column: Any, given: str, connection: Connection) -> Any:
    """Whether ``column`` ends with ``given``; LIKE would take upper case for lower case on SQLite."""
    indexed = _last(column, LEAST, connection) == given[-LEAST:]
    return and_(indexed, _last(column, len(given), connection) == given)


def _last(column: Any, count: int, connection: Connection) -> Any:
    """The last ``count`` characters of ``column``, as the expression of the index says it."""
    name = f"{column.table.name}.{column.name}"
    postgresql = connection.dialect.name == "postgresql"
    words = f'"right"({name}, {count})' if postgresql else f"substr({name}, -{count})"
    return literal_column(words, KeyText())


def _distinct(connection: Connection, queries: Iterable[Select[Any]], limit: int) -> list[str]:
    found: dict[str, None] = {}
    for query in queries:
        found.update(dict.fromkeys(connection.execute(query.limit(limit)).scalars()))
        if len(found) >= limit:
            break
    return list(found)[:limit]


__all__ = ["LEAST", "jobs_like", "letters_like"]
