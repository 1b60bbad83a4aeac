"""How many jobs a list has, up to a limit: ``10,000+`` is enough for a person, and costs the same for any filter.

The kinds of jobs (``store/kinds.py``) that meet the filters are counted one after the other, each by one index, until
the limit. A search in the text of jobs counts for a limited time, from the newest job on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, literal, select, true

from ..store import Store
from ..store.tables import jobs, kinds, tags
from ..store.types import UtcDateTime
from .filters import Filters
from .job_keys import Keys, Window
from .jobs import READ_SECONDS, SEARCH_SECONDS, searched

LIMIT = 10_000
"""The number at which a count stops."""

_FIRST_CHUNK, _LARGEST_CHUNK = 200, 5000


@dataclass(frozen=True, slots=True)
class Count:
    """The number of jobs, or, with ``more``, a number that there are at least."""

    number: int
    more: bool = False

    def __str__(self) -> str:
        """``412``, or ``10,000+``."""
        return f"{self.number:,}{'+' if self.more else ''}"

    def as_dict(self) -> dict[str, Any]:
        """``{number, more}``."""
        return {"number": self.number, "more": self.more}


def count(
    store: Store,
    filters: Filters | None = None,
    *,
    limit: int = LIMIT,
    clock: Callable[[], float] = time.monotonic,
) -> Count:
    """The number of jobs that meet ``filters``, up to ``limit``; raises ``DatabaseUnavailable``."""
    filters = filters or Filters()
    with store.read(timeout=READ_SECONDS) as connection:
        if filters.texts:
            return _of_search(connection, filters, limit, clock)
        found = 0
        for query in _queries(connection, filters, limit):
            most = query.limit(limit + 1 - found).subquery()
            found += connection.execute(select(func.count()).select_from(most)).scalar_one()
            if found > limit:
                return Count(limit, more=True)
        return Count(found)


def _queries(connection: Connection, filters: Filters, limit: int) -> Iterable[Select[Any]]:
    """Queries with a row for each job; together they find each job once."""
    conditions = filters.conditions(kinds.c)
    table = jobs if filters.tag is None else tags
    only = [] if filters.tag is None else [tags.c.tag == filters.tag]
    times = _times(table.c.enqueued_at, filters)
    inner = select(literal(1).label("one")).select_from(table).where(*only, *times)
    if not conditions and not (times and only):
        yield inner.order_by(table.c.enqueued_at.desc()) if times else inner
        return
    if connection.dialect.name == "postgresql":
        # the order names the kind, so that only the index of kinds fits; see job_keys.py
        in_order = table.c.kind.desc(), table.c.enqueued_at.desc()
        each = inner.where(table.c.kind == kinds.c.id).order_by(*in_order).limit(limit + 1).lateral()
        yield select(each.c.one).select_from(kinds.join(each, true())).where(*conditions)
    else:
        yield inner.where(table.c.kind.in_(select(kinds.c.id).where(*conditions)))
    if filters.tag is None:
        without = inner.where(jobs.c.kind.is_(None), *filters.conditions(jobs.c))
        yield without.order_by(jobs.c.kind.desc(), jobs.c.enqueued_at.desc())


def _times(column: Any, filters: Filters) -> list[Any]:
    found = []
    if filters.since is not None:
        found.append(column >= literal(filters.since, UtcDateTime))
    if filters.until is not None:
        found.append(column < literal(filters.until, UtcDateTime))
    return found


def _of_search(connection: Connection, filters: Filters, limit: int, clock: Callable[[], float]) -> Count:
    until = clock() + SEARCH_SECONDS
    keys = Keys(connection, filters.conditions, filters.tag)
    window, matches, found, chunk = Window(filters.since, filters.until), searched(filters), 0, _FIRST_CHUNK
    while True:
        begun = clock()
        looked = keys.newest(window, chunk)
        for at in range(0, len(looked), 1000):
            among = jobs.c.id.in_([key.id for key in looked[at : at + 1000]])
            found += connection.execute(select(func.count()).where(among, *matches)).scalar_one()
        if found > limit:
            return Count(limit, more=True)
        if len(looked) < chunk:
            return Count(found)
        window = window.after(looked[-1])
        took, left = clock() - begun, until - clock()
        if left <= took:
            return Count(found, more=True)
        chunk = min(_LARGEST_CHUNK, max(1, int(chunk * min(2.0, left / took / 2))))


__all__ = ["LIMIT", "Count", "count"]
