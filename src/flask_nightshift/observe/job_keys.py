"""The keys of jobs, newest first, by kinds and by a tag: what index gives them, and how those of many kinds merge."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    func,
    literal,
    select,
    tuple_,
)

from ..store.collation import in_bytes
from ..store.tables import jobs, kinds, tags
from ..store.types import KeyText, UtcDateTime

MANY = 2000
"""From this number of kinds on, first look whether the newest jobs fill the page."""
PROBED = 5000
"""Number of newest jobs to look at first."""


class Key(NamedTuple):
    """The position of a job in lists; a job whose time is not known (None) comes after all others."""

    at: datetime | None
    id: str


class Window(NamedTuple):
    """The part of the list to read: enqueued since (inclusive), until (exclusive), and after a key."""

    since: datetime | None = None
    until: datetime | None = None
    last: Key | None = None

    def after(self, key: Key) -> Self:
        """The part that follows ``key``."""
        return self._replace(last=key)


Conditions = Callable[[Any], list[ColumnElement[bool]]]
"""The conditions for the state, task, queue, worker and error, given the columns of a table that has them."""


class Keys:
    """The keys of the jobs that meet ``conditions`` and have ``tag`` (None: any).

    Rows that a worker of an older version, or somebody else, has written without a kind or a time are found, too, but
    not by an index of what they are; ``kinds.fill`` mends them.
    """

    def __init__(self, connection: Connection, conditions: Conditions, tag: str | None) -> None:
        self._connection = connection
        self._of = conditions
        self._conditions = conditions(kinds.c)
        self._of_rows = conditions(jobs.c)
        self._tag = tag
        self._source = _Tagged(connection, tag) if tag is not None else _Source(connection)
        self._kinds: list[int] | None = None

    def newest(self, window: Window, count: int) -> list[Key]:
        """The first ``count`` keys of ``window``."""
        found: list[Key] = []
        if window.last is None or window.last.at is not None:
            found = self._with_times(window, count)
        if len(found) < count and window.since is None and window.until is None:
            found += self._without_times(window, count - len(found))
        return found

    def _with_times(self, window: Window, count: int) -> list[Key]:
        if not self._conditions and self._tag is None:
            return self._source.by_time(window, count)
        wanted = self._wanted()
        if len(wanted) > MANY and self._tag is None:
            found = self._source.by_time(window, count, self._of, PROBED)
            if len(found) == count:
                return found
        if len(wanted) > count:
            wanted = self._with_the_newest(window, count, wanted)
        streams = [self._source.of_kind(kind, window, count, len(wanted)) for kind in wanted]
        streams.append(self._without_kinds(window, count))
        merged = heapq.merge(*streams, reverse=True)
        return [key for key, _ in zip(merged, range(count), strict=False)]

    def _without_kinds(self, window: Window, count: int) -> Iterator[Key]:
        query = select(jobs.c.enqueued_at.label("at"), jobs.c.id).where(jobs.c.kind.is_(None))
        query = query.where(jobs.c.enqueued_at.is_not(None), *self._of_rows, *self._has_tag())
        by_id = in_bytes(jobs.c.id, self._connection)
        query = query.where(*_bounds((jobs.c.enqueued_at, by_id), window, ()))
        query = query.order_by(jobs.c.enqueued_at.desc(), by_id.desc()).limit(count)
        return (Key(row.at, row.id) for row in self._connection.execute(query))

    def _without_times(self, window: Window, count: int) -> list[Key]:
        by_id = in_bytes(jobs.c.id, self._connection)
        query = select(jobs.c.id).where(jobs.c.enqueued_at.is_(None), *self._of_rows, *self._has_tag())
        if window.last is not None and window.last.at is None:
            query = query.where(by_id < window.last.id)
        query = query.order_by(jobs.c.enqueued_at.desc(), by_id.desc()).limit(count)
        return [Key(None, job_id) for job_id in self._connection.execute(query).scalars()]

    def _has_tag(self) -> list[Any]:
        if self._tag is None:
            return []
        return [select(tags.c.tag).where(tags.c.job_id == jobs.c.id, tags.c.tag == self._tag).exists()]

    def _wanted(self) -> list[int]:
        """The kinds that meet the conditions; with a tag, only those that its jobs have."""
        if self._kinds is None:
            chosen = select(kinds.c.id).where(*self._conditions)
            self._kinds = list(self._connection.execute(chosen).scalars())
            if self._tag is not None:
                of_tag = set(self._source.kinds())
                among = of_tag.intersection(self._kinds) if self._conditions else of_tag
                self._kinds = sorted(among)
        return self._kinds

    def _with_the_newest(self, window: Window, count: int, wanted: Sequence[int]) -> list[int]:
        """The ``count`` kinds of ``wanted`` that have the newest jobs; the first ``count`` jobs are among theirs."""
        newest = self._source.newest_of(kinds.c.id, window)
        query = select(kinds.c.id, newest.label("newest")).where(*self._conditions)
        among = set(wanted)
        rows = [row for row in self._connection.execute(query) if row.newest is not None and row.id in among]
        rows.sort(key=lambda row: row.newest, reverse=True)
        if len(rows) > count:
            rows = [row for row in rows if row.newest >= rows[count - 1].newest]
        return [row.id for row in rows]


class _Source:
    """The jobs themselves, by the index ``(kind, enqueued_at, id)``.

    The conditions name the kind in front of every key, and the order names it, too. So no other index gives that order,
    and PostgreSQL cannot choose to walk through all jobs by their time, because it expects the kind to be frequent.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kind: Any = jobs.c.kind
        self._at: Any = jobs.c.enqueued_at
        self._id: Any = in_bytes(jobs.c.id, connection)
        self._only: list[ColumnElement[bool]] = []

    def by_time(
        self,
        window: Window,
        count: int,
        conditions: Conditions | None = None,
        among: int | None = None,
    ) -> list[Key]:
        """The first ``count`` keys by time alone; with ``conditions``, of those among the first ``among``."""
        of_row = (jobs.c.state, jobs.c.task, jobs.c.queue, jobs.c.worker, jobs.c.error) if conditions else ()
        query = select(self._at.label("at"), self._id.label("id"), *of_row)
        query = query.where(self._at.is_not(None), *_bounds((self._at, self._id), window, ()))
        query = query.order_by(self._at.desc(), self._id.desc()).limit(among or count)
        if conditions is not None:
            first = query.subquery()
            in_order = first.c.at.desc(), in_bytes(first.c.id, self._connection).desc()
            query = (
                select(first.c.at, first.c.id).where(*conditions(first.c)).order_by(*in_order).limit(count)
            )
        return [Key(row.at, row.id) for row in self._connection.execute(query)]

    def of_kind(self, kind: int, window: Window, count: int, shared: int) -> Iterator[Key]:
        """The keys of one kind; it reads few at first, if ``shared`` kinds make up the ``count`` keys."""
        size = max(5, 2 * count // shared)
        while True:
            size = min(size, count)
            query = select(self._at.label("at"), self._id.label("id"))
            query = query.where(*self._only, *self._of(literal(kind, BigInteger), window))
            found = [Key(row.at, row.id) for row in self._connection.execute(self._newest_first(query, size))]
            yield from found
            if len(found) < size:
                return
            window, size = window.after(found[-1]), size * 4

    def newest_of(self, kind: Any, window: Window) -> Any:
        """The time of the newest job of ``kind``, a column of an enclosing query."""
        query = select(self._at).where(*self._only, *self._of(kind, window))
        return self._newest_first(query, 1).correlate(kinds).scalar_subquery()

    def kinds(self) -> Iterator[int]:
        """All kinds that these jobs have."""
        raise NotImplementedError

    def _of(self, kind: Any, window: Window) -> list[Any]:
        bounds = _bounds((self._kind, self._at, self._id), window, (kind,))
        return [self._at.is_not(None), *bounds]

    def _newest_first(self, query: Select[Any], count: int) -> Select[Any]:
        return query.order_by(self._kind.desc(), self._at.desc(), self._id.desc()).limit(count)


class _Tagged(_Source):
    """The jobs that have a tag, by the index ``(tag, kind, enqueued_at, job_id)``."""

    def __init__(self, connection: Connection, tag: str | None) -> None:
        super().__init__(connection)
        self._kind, self._at = tags.c.kind, tags.c.enqueued_at
        self._id = in_bytes(tags.c.job_id, connection)
        self._only = [tags.c.tag == tag]

    def kinds(self) -> Iterator[int]:
        """The kinds of the tag's jobs: each step of the recursion skips to the next one."""
        first = select(func.min(tags.c.kind).label("kind")).where(*self._only)
        found = first.cte(recursive=True)
        following = select(func.min(tags.c.kind)).where(*self._only, tags.c.kind > found.c.kind)
        step = select(following.scalar_subquery()).where(found.c.kind.is_not(None))
        return (
            kind
            for kind in self._connection.execute(select(found.union_all(step).c.kind)).scalars()
            if kind is not None
        )


def _bounds(columns: Sequence[Any], window: Window, prefix: Sequence[Any]) -> list[Any]:
    """The conditions that ``columns`` (some, then time and id) begin with ``prefix`` and are within ``window``."""
    found = []
    at = len(prefix)
    last, until, since = window.last, window.until, window.since
    if until is not None and (last is None or last.at is None or until <= last.at):
        found.append(_tuple(columns[: at + 1]) < _tuple((*prefix, literal(until, UtcDateTime))))
    elif last is not None:
        key = literal(last.at, UtcDateTime), literal(last.id, KeyText)
        found.append(_tuple(columns) < _tuple((*prefix, *key)))
    elif prefix:
        found.append(columns[0] <= prefix[0])
    if since is not None:
        found.append(_tuple(columns[: at + 1]) >= _tuple((*prefix, literal(since, UtcDateTime))))
    elif prefix:
        found.append(columns[0] >= prefix[0])
    return found


def _tuple(values: Sequence[Any]) -> Any:
    return tuple_(*values) if len(values) > 1 else values[0]


__all__ = ["Key", "Keys", "Window"]
