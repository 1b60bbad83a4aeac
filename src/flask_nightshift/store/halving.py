"""A batch that the database refuses for its content: halve it until the bad ones stand alone (invariant 14)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ..errors import DatabaseUnavailable
from .unavailable import is_content

T = TypeVar("T")


def halve(
    items: Sequence[T],
    write: Callable[[Sequence[T]], object],
    set_aside: Callable[[T, Exception], object],
) -> None:
    """``write(items)``, all or in halves; an item that is refused alone goes to ``set_aside(item, why)``.

    One bad item of n costs about two times log2(n) tries. An outage ends it: ``DatabaseUnavailable`` comes out, and
    what was written or set aside until then may be written again.
    """
    if not items:
        return
    try:
        write(items)
    except DatabaseUnavailable:
        raise
    except Exception as exc:
        # inside a transaction nothing has translated an outage yet
        if isinstance(exc, DBAPIError) and not is_content(exc):
            raise
        if len(items) == 1:
            set_aside(items[0], exc)
            return
        middle = len(items) // 2
        halve(items[:middle], write, set_aside)
        halve(items[middle:], write, set_aside)


def within(
    connection: Connection, write: Callable[[Connection, Sequence[T]], object]
) -> Callable[[Sequence[T]], None]:
    """``write`` for ``halve`` in one transaction: what is refused is undone to a savepoint."""

    def in_savepoint(items: Sequence[T]) -> None:
        with connection.begin_nested():
            write(connection, items)

    return in_savepoint


__all__ = ["halve", "within"]
