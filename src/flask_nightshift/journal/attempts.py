"""The rows of attempts.

The start of an attempt identifies its row (``job, run, number, started_at``). An attempt whose worker died starts again
with the same number, and both starts stay in the history. The end of an attempt finds its start in ``Open``, where the
process that saw the start keeps it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, func
from sqlalchemy.engine import Dialect

from ..domain.events import JobDied, JobEvent, JobRetrying, JobReturned, JobStarted, JobSucceeded
from ..store.tables import attempts
from ..store.upsert import Upsert

MAX_OPEN = 50_000
"""Maximum number of open attempts that one process remembers; a worker runs far fewer at once."""

_NOTHING = dict.fromkeys(attempts.c.keys())
_ENDS = ("wait", "ended_at", "outcome", "runtime", "error", "message", "traceback", "due_at")


@dataclass(frozen=True, slots=True)
class Start:
    """The start of an attempt, and the seconds that it had waited in its queue."""

    at: datetime
    wait: float | None


class Open:
    """The attempts that started in this process and have not ended."""

    def __init__(self) -> None:
        self._starts: OrderedDict[tuple[str, int, int], Start] = OrderedDict()

    def follow(self, event: JobEvent) -> Start | None:
        """The start of the attempt of ``event``, if it is known or can be derived."""
        key = (event.job.job_id, event.job.run, event.job.attempt)
        if isinstance(event, JobStarted):
            start = self._starts[key] = Start(event.at, event.wait)
            if len(self._starts) > MAX_OPEN:
                self._starts.popitem(last=False)
            return start
        known = self._starts.pop(key, None)
        runtime = getattr(event, "runtime", None)
        if known is None and runtime is not None:
            return Start(event.at - timedelta(seconds=runtime), None)
        return known


def row(event: JobEvent, start: Start | None) -> dict[str, Any] | None:
    """The row of the attempt that ``event`` starts or ends; None if it concerns no attempt."""
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
        case JobSucceeded() | JobRetrying() | JobDied() | JobReturned():
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
    return found


def write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Merge ``rows`` into the table."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:  # most attempts start and end within one batch, so write them once
        key = (row["job_id"], row["run"], row["number"], row["started_at"])
        known = merged.setdefault(key, row)
        if known is not row:
            known.update({name: row[name] for name in _ENDS if row[name] is not None})
    if merged:
        _merge(connection.dialect).run(connection, [merged[key] for key in sorted(merged)])


@cache
def _merge(dialect: Dialect) -> Upsert:
    return Upsert(attempts, dialect, _changes)


def _changes(statement: Any) -> dict[str, Any]:
    return {name: func.coalesce(statement.excluded[name], attempts.c[name]) for name in _ENDS}


__all__ = ["MAX_OPEN", "Open", "Start", "row", "write"]
