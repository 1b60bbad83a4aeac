"""Reads the record of a job and its attempts from the history."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row, select

from ..domain.job import JobState, Outcome
from ..domain.record import AttemptRecord, JobRecord
from ..store import Store, tags
from ..store.tables import attempts, jobs
from .told import with_told


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
        stored = [_attempt(found) for found in connection.execute(in_order)]
        tagged = tags.of(connection, [row.id])
    return _record(row, with_told(row, stored), tagged.get(row.id, ()))


def _storable(text: str) -> bool:
    """Whether every database accepts ``text``: it has no NUL (PostgreSQL) and can be encoded as UTF-8."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _record(row: Row[Any], history: list[AttemptRecord], tags: tuple[str, ...]) -> JobRecord:
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
        progress_at=row.progress_at,
        result=_json(row.result),
        error={"error": row.error, "message": row.error_message or ""} if failed else None,
        enqueued_at=row.enqueued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        due_at=row.due_at,
        worker=row.worker,
        request_id=row.request_id,
        tags=tags,
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


__all__ = ["find_job"]
