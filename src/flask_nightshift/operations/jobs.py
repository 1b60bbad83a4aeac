"""Look up a job: in the history, in an outbox, or among those that are announced only."""

from __future__ import annotations

from dataclasses import replace

from .. import journal
from ..domain.record import JobRecord
from ..errors import JobNotFound
from ..message.arguments import shown_arguments
from ..message.headers import ref
from ..outbox import waiting_rows
from ..services import Services
from . import ids


def unrecorded(services: Services) -> str:
    """Which jobs the history does not record, in a sentence; empty if it records all."""
    return journal.note(services.settings.history)


def find(services: Services, given: str) -> JobRecord:
    """The job that ``given`` means (an id, its start or its end), with its attempts.

    A job that waits in an outbox, or that a chain or a chord only announces, has the state ``unknown``. Raises
    ``JobNotFound`` or ``DatabaseUnavailable``.
    """
    note = unrecorded(services)
    try:
        record = journal.find_job(services.store, ids.job_id(services.store, given, note))
    except JobNotFound:
        if (unwritten := _unwritten(services, given)) is None:
            raise
        return unwritten
    if record is None:
        raise JobNotFound(f"the job {given} was forgotten at this moment")
    return record


def _unwritten(services: Services, given: str) -> JobRecord | None:
    """The one job of which the history has no record that ``given`` means; None if there is none, or several."""
    if len(given.strip()) < ids.LEAST:
        return None
    rows = waiting_rows.like(services.outboxes, given, 2)
    if rows:
        return _in_outbox(services, rows[0]) if len(rows) == 1 else None
    announced = journal.announced(services.store, given, 2)
    return _announced(services, announced[0]) if len(announced) == 1 else None


def _in_outbox(services: Services, row: waiting_rows.WaitingRow) -> JobRecord:
    record = JobRecord(row.job_id, row.task, row.queue, enqueued_at=row.created_at, due_at=row.due_at)
    kept = waiting_rows.with_message(services.outboxes, row.job_id)
    try:
        headers = kept.envelope().headers if kept is not None else {}
    except ValueError:  # damaged, or of another version
        headers = {}
    job = ref(headers, row.queue)
    args, kwargs = shown_arguments(headers)
    return replace(record, args=args or None, kwargs=kwargs or None, request_id=job.request_id, tags=job.tags)


def _announced(services: Services, job_id: str) -> JobRecord:
    family = journal.find_family(services.store, job_id)
    return JobRecord(job_id, family.this.task if family is not None else "")


__all__ = ["JobRecord", "find", "unrecorded"]
