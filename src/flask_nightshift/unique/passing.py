"""A unique job that replaces itself (Celery's ``self.replace``) passes its lock on.

The job in its place has the same id. If it also has the same key, the end of the first one must not release the lock.
"""

from __future__ import annotations

from ..domain.context import current_job
from ..message.unique import Lock

MOST = 1_000
"""Passed locks that are remembered; a job that passed one on and then ended otherwise leaves it here."""

_passed: dict[str, str] = {}


def note(lock: Lock) -> None:
    """Note, before a job with ``lock`` is published, whether it is the running job that publishes itself."""
    job = current_job.get()
    if job is not None and job.job_id == lock.job_id:
        while len(_passed) >= MOST:
            _passed.pop(next(iter(_passed)), None)
        _passed[lock.job_id] = lock.key


def take(job_id: str) -> str:
    """The key of the lock that the job ``job_id`` has passed on, which is then forgotten; '' if there is none."""
    return _passed.pop(job_id, "") if _passed else ""


__all__ = ["note", "take"]
