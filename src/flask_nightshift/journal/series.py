"""Totals over time, as finely as rows tell: by the minute for two days, by the hour for sixty, then by the day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import reduce
from operator import add
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Select,
    Subquery,
    case,
    extract,
    func,
    literal,
    literal_column,
    select,
    type_coerce,
)

from ..domain.job import Outcome
from ..store import Store
from ..store.tables import bucket_columns
from ..store.tables import totals as table
from .folding import LEVELS
from .tally import ALL_TIME

READ_SECONDS = 5.0
MINUTE = timedelta(minutes=1)
SPANS = {
    MINUTE: (16, ":00.000000"),
    timedelta(minutes=10): (15, "0:00.000000"),
    timedelta(hours=1): (13, ":00:00.000000"),
}
"""What SQLite's text of a time has in common within a span, by its length, and the rest of the text at its begin."""


class Sums(NamedTuple):
    """What ended in the minute, hour or day that begins ``at``.

    ``label`` is the task, queue or outcome. ``ended`` attempts ended. ``measured`` of them ran for ``runtime`` seconds
    together, and ``waited`` of them waited for ``wait`` seconds.
    """

    at: datetime
    label: str
    ended: int
    runtime: float
    measured: int
    wait: float
    waited: int


class Spread(NamedTuple):
    """The attempts that ended in the minute, hour or day that begins ``at``, and how many of them with some outcomes.

    ``runtime`` and ``wait``: how many of them are in each bucket (``BUCKETS``).
    """

    at: datetime
    ended: int
    succeeded: int
    retried: int
    died: int
    runtime: tuple[int, ...]
    wait: tuple[int, ...]


def finest(since: datetime, now: datetime) -> timedelta:
    """The shortest time that rows since then can tell apart."""
    return max(level.span for level in LEVELS if since < now - level.after or level is LEVELS[0])


def sums(
    store: Store, since: datetime, until: datetime, only: dict[str, str], by: str | None = None
) -> list[Sums]:
    """The sums of each minute, hour or day from ``since`` on and before ``until``, in their order.

    ``only``: the values of ``task``, ``queue`` and ``outcome`` that count. ``by``: one of these, to tell them apart.
    Raises ``DatabaseUnavailable``.
    """
    label: Any = table.c[by] if by else literal("")
    columns = (
        func.sum(table.c["count"]),
        func.sum(table.c.runtime_sum),
        func.sum(_measured("runtime")),
        func.sum(table.c.wait_sum),
        func.sum(_measured("wait")),
    )
    conditions = [table.c[name] == value for name, value in only.items()]
    query = (
        select(table.c.minute, label.label("label"), *columns)
        .where(table.c.minute > ALL_TIME, table.c.minute >= since, table.c.minute < until, *conditions)
        .group_by(table.c.minute, *([label] if by else []))
        .order_by(table.c.minute)
    )
    with store.read(timeout=READ_SECONDS) as connection:
        found = connection.execute(query).all()
    return [
        Sums(at, name, int(count), float(ran), int(measured), float(waited), int(waits))
        for at, name, count, ran, measured, waited, waits in found
    ]


def spreads(store: Store, since: datetime, until: datetime, span: timedelta = MINUTE) -> list[Spread]:
    """How long attempts ran and waited in each ``span`` from ``since`` on and before ``until``.

    ``span`` is one of ``SPANS``; where rows are coarser, it is an hour or a day. Raises ``DatabaseUnavailable``.
    """
    names = (*bucket_columns("runtime"), *bucket_columns("wait"))
    half = len(names) // 2
    # in the order of the primary key, so that no database sorts the rows of all tasks
    minutes = (
        select(
            table.c.minute,
            func.sum(table.c["count"]).label("ended"),
            *(_with_outcome(each) for each in (Outcome.SUCCEEDED, Outcome.RETRIED, Outcome.DEAD)),
            *(func.sum(table.c[name]).label(name) for name in names),
        )
        .where(table.c.minute > ALL_TIME, table.c.minute >= since, table.c.minute < until)
        .group_by(table.c.minute)
    )
    with store.read(timeout=READ_SECONDS) as connection:
        query = minutes if span == MINUTE else _in_spans(minutes.subquery(), connection, span)
        found = connection.execute(query).all()
    return [
        Spread(at, int(ended), int(succeeded), int(retried), int(died), _whole(runtime), _whole(wait))
        for at, ended, succeeded, retried, died, runtime, wait in (
            (*row[:5], row[5 : 5 + half], row[5 + half :]) for row in found
        )
    ]


def _whole(buckets: Iterable[Any]) -> tuple[int, ...]:
    return tuple(map(int, buckets))


def _with_outcome(outcome: Outcome) -> Any:
    chosen = case((table.c.outcome == outcome.value, table.c["count"]), else_=0)
    return func.sum(chosen).label(outcome.value)


def _in_spans(minutes: Subquery, connection: Connection, span: timedelta) -> Select[Any]:
    at = _begin(minutes.c.minute, connection, span)
    return select(at, *(func.sum(each) for each in list(minutes.c)[1:])).group_by(at)


def _begin(minute: Any, connection: Connection, span: timedelta) -> Any:
    """When the ``span`` begins in which ``minute`` is."""
    if connection.dialect.name == "postgresql":
        seconds = int(span.total_seconds())
        number = func.floor(extract("epoch", minute) / literal_column(str(seconds)))
        return func.to_timestamp(number * literal_column(str(seconds)), type_=table.c.minute.type)
    length, rest = SPANS[span]
    begun = func.substr(minute, literal_column("1"), literal_column(str(length))).concat(
        literal_column(f"'{rest}'")
    )
    return type_coerce(begun, table.c.minute.type)


def _measured(kind: str) -> Any:
    """The number of attempts whose runtime or wait is known."""
    return reduce(add, (table.c[name] for name in bucket_columns(kind)))


__all__ = ["Spread", "Sums", "finest", "spreads", "sums"]
