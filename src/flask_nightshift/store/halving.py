"""Halve a batch that the database refuses for its content until each bad item stands alone (invariant 14)."""

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
    """Call ``write(items)``, for all or in halves; an item refused alone goes to ``set_aside(item, why)``.

    One bad item of n costs about 2 · log2(n) attempts. An outage raises ``DatabaseUnavailable``; items that were
    written or set aside before may then be written again.
    """
    if not items:
        return
    try:
        write(items)
    except DatabaseUnavailable:
        raise
    except Exception as exc:
        # inside a transaction, no code has translated an outage yet
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
    """A ``write`` for ``halve`` in one transaction, which rolls a refused write back to a savepoint."""

    def in_savepoint(items: Sequence[T]) -> None:
        with connection.begin_nested():
            write(connection, items)

    return in_savepoint


__all__ = ["halve", "within"]
