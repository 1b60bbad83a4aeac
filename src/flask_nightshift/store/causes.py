"""Give dead letters that an older version stored their cause: fingerprint and place (``domain/fingerprint.py``).

``migrate`` fills all, the retention those that a worker of an older version has stored since. A transaction that writes
changes few rows and looks for none, so that others can write between two of them; SQLite has one writer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, bindparam, func, select, type_coerce, update

from ..domain.fingerprint import cause
from ..domain.frames import MOST_CHARACTERS
from .tables import dead_letters as letters

CHUNK = 200
"""Maximum number of rows in one transaction."""
FILL_SECONDS = 20.0

Begin = Callable[..., AbstractContextManager[Connection]]

_ID = type_coerce(letters.c.id, Text())  # as it is stored: older versions did not shorten it
_TEXT = func.substr(letters.c.traceback, 1, MOST_CHARACTERS)
_LACKING = (
    select(_ID.label("id"), letters.c.reason, letters.c.task, letters.c.error, _TEXT.label("traceback"))
    .where(letters.c.place.is_(None), bindparam("after") < _ID)
    .order_by(_ID)
    .limit(CHUNK)
)
_CHANGE = (
    update(letters)
    .where(bindparam("letter", type_=Text()) == _ID)
    .values(fingerprint=bindparam("cause"), place=bindparam("where"))
)


def fill(read: Begin, begin: Begin, since: datetime | None = None) -> int:
    """Give letters without a place (of jobs that died ``since``) their cause; returns how many.

    ``read(timeout=seconds)`` and ``begin(timeout=seconds)`` give transactions. Raises ``DatabaseUnavailable``.
    """
    lacking = (
        _LACKING if since is None else _LACKING.where(letters.c.status == "waiting", letters.c.at >= since)
    )
    filled, after = 0, ""
    while True:
        with read(timeout=FILL_SECONDS) as connection:
            found = connection.execute(lacking, {"after": after}).all()
        if not found:
            return filled
        with begin(timeout=FILL_SECONDS) as connection:
            connection.execute(_CHANGE, [_values(row) for row in found])
        filled += len(found)
        after = found[-1].id


def _values(row: Any) -> dict[str, str]:
    found = cause(row.reason, row.task, row.error, row.traceback)
    return {"letter": row.id, "cause": found.fingerprint, "where": found.place}


__all__ = ["CHUNK", "fill"]
