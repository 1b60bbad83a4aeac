"""The rows of attempts that need one: see ``told.py`` for those that need none.

The start of an attempt identifies its row (``job, run, number, started_at``). An attempt whose worker died starts again
with the same number, and both starts stay in the history.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, func
from sqlalchemy.engine import Dialect

from ..domain.events import JobCancelled, JobDied, JobRetrying, JobReturned, JobSkipped, JobSucceeded
from ..store.tables import attempts
from ..store.upsert import DIALECTS, Upsert
from .following import Record

_NOTHING = dict.fromkeys(attempts.c.keys())
_ENDS = ("wait", "ended_at", "outcome", "runtime", "error", "message", "traceback", "due_at")


def row(record: Record) -> dict[str, Any] | None:
    """The row of the attempt that the event of ``record`` starts or ends; None if it concerns no attempt."""
    event, start, _ = record
    if start is None:
        return None
    ref = event.job
    found: dict[str, Any] = dict(_NOTHING)
    found.update(
        job_id=ref.job_id,
        run=min(ref.run, 2**20),
        number=min(ref.attempt, 2**31 - 1),
        started_at=start.at,
        wait=start.wait,
        worker=getattr(event, "worker", ""),
    )
    match event:
        case JobSucceeded() | JobRetrying() | JobDied() | JobReturned() | JobSkipped() | JobCancelled():
            found.update(
                ended_at=event.at, outcome=event.outcome.value, runtime=getattr(event, "runtime", None)
            )
    match event:
        case JobRetrying() | JobDied():
            failure = event.failure
            found.update(error=failure.error, message=failure.message, traceback=failure.traceback or None)
            found["due_at"] = getattr(event, "due", None)
        case JobReturned():
            found["message"] = event.why
        case JobSkipped():
            found["message"] = f"{event.why} {event.by}"
        case JobCancelled():
            found["message"] = event.why
    return found


def write(connection: Connection, records: Iterable[Record]) -> None:
    """Merge the attempts of ``records`` into the table."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for found in filter(None, map(row, records)):
        key = (found["job_id"], found["run"], found["number"], found["started_at"])
        known = merged.setdefault(key, found)
        if known is not found:
            known.update({name: found[name] for name in _ENDS if found[name] is not None})
    if merged:
        _merge(connection.dialect).run(connection, [tuple(merged[key].values()) for key in sorted(merged)])


@lru_cache(maxsize=DIALECTS)
def _merge(dialect: Dialect) -> Upsert:
    return Upsert(attempts, dialect, _changes)


def _changes(statement: Any) -> dict[str, Any]:
    return {name: func.coalesce(statement.excluded[name], attempts.c[name]) for name in _ENDS}


__all__ = ["row", "write"]
