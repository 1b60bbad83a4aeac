"""The journal's records of jobs and attempts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Row, select

from ..domain.job import JobState, Outcome
from ..store import Store
from ..store.tables import attempts, jobs


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a job. ``run`` counts the replays before it; ``number`` starts at 1 in each run.

    ``at`` is its start. Without ``ended_at`` it is still running, or, if another attempt follows, its worker died.
    ``runtime`` and ``wait`` (in the queue, before the start) are seconds; ``due_at`` is the planned time of the next.
    """

    run: int
    number: int
    at: datetime
    worker: str
    wait: float | None
    ended_at: datetime | None
    outcome: Outcome | None
    runtime: float | None
    error: str | None
    message: str | None
    traceback: str | None
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """The history's information about one job.

    ``attempts`` is the number of attempts that started in its latest run. ``args`` and ``kwargs`` are texts for people.
    ``result`` is the task's return value (if results are stored). ``error`` is the last failure as
    ``{"error", "message"}`` until a success. ``history`` contains every attempt of every run, oldest first.
    """

    id: str
    task: str = ""
    queue: str = ""
    state: JobState = JobState.UNKNOWN
    run: int = 0
    attempts: int = 0
    max_retries: int | None = None
    args: str | None = None
    kwargs: str | None = None
    progress: dict[str, Any] | None = None
    result: Any = None
    error: dict[str, str] | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    worker: str | None = None
    request_id: str | None = None
    history: list[AttemptRecord] = field(default_factory=list)

    @classmethod
    def unknown(cls, job_id: str) -> Self:
        """The record of a job that the journal does not know (yet)."""
        return cls(job_id)

    def as_dict(self) -> dict[str, Any]:
        """The record in plain JSON types, for an HTTP client."""
        return {
            "id": self.id,
            "task": self.task or None,
            "state": str(self.state),
            "attempts": self.attempts,
            "progress": self.progress,
            "result": self.result,
            "error": self.error,
        }


def find_job(store: Store, job_id: str) -> JobRecord | None:
    """The job with that id and its history; None if the journal does not know it.

    Raises ``DatabaseUnavailable``.
    """
    begun = select(attempts).where(attempts.c.job_id == job_id)
    in_order = begun.order_by(attempts.c.run, attempts.c.number, attempts.c.started_at)
    with store.read() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            return None
        history = [_attempt(found) for found in connection.execute(in_order)]
    return _record(row, history)


def _storable(text: str) -> bool:
    """Whether every database accepts ``text``: it has no NUL (PostgreSQL) and can be encoded as UTF-8."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _record(row: Row[Any], history: list[AttemptRecord]) -> JobRecord:
    failed = row.error is not None
    return JobRecord(
        id=row.id,
        task=row.task,
        queue=row.queue,
        state=JobState(row.state),
        run=row.run,
        attempts=row.attempts,
        max_retries=row.max_retries,
        args=row.args,
        kwargs=row.kwargs,
        progress=row.progress,
        result=_json(row.result),
        error={"error": row.error, "message": row.error_message or ""} if failed else None,
        enqueued_at=row.enqueued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        due_at=row.due_at,
        worker=row.worker,
        request_id=row.request_id,
        history=history,
    )


def _attempt(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        run=row.run,
        number=row.number,
        at=row.started_at,
        worker=row.worker,
        wait=row.wait,
        ended_at=row.ended_at,
        outcome=Outcome(row.outcome) if row.outcome else None,
        runtime=row.runtime,
        error=row.error,
        message=row.message,
        traceback=row.traceback,
        due_at=row.due_at,
    )


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


__all__ = ["AttemptRecord", "JobRecord", "find_job"]
