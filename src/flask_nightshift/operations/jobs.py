"""Look up a job in the history."""

from __future__ import annotations

from .. import journal
from ..domain.record import JobRecord
from ..errors import JobNotFound
from ..services import Services
from . import ids


def find(services: Services, given: str) -> JobRecord:
    """The job that ``given`` means (an id, its start or its end), with its attempts.

    Raises ``JobNotFound`` or ``DatabaseUnavailable``.
    """
    record = journal.find_job(services.store, ids.job_id(services.store, given))
    if record is None:
        raise JobNotFound(f"the job {given} was forgotten at this moment")
    return record


__all__ = ["JobRecord", "find"]
