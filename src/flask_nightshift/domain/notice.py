"""What ``jobs.on_dead()`` tells of a dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from .job import Reason


@dataclass(frozen=True, slots=True)
class DeadLetterNotice:
    """A new dead letter, as a plain value. ``str()`` of it is one line of text for people.

    ``id`` is the letter's. ``job_id`` and ``task`` are None if the message was no job. ``error`` is the type of the
    error and ``message`` its text; both are empty if there was none. ``attempts`` is how many attempts were made, 0 for
    a job that never began. ``worker`` is who buried it, None if the broker did. ``url`` leads to the letter's page in
    the dashboard; None without a dashboard, or without ``SERVER_NAME`` in the app's configuration.
    """

    id: str
    job_id: str | None
    task: str | None
    queue: str
    reason: Reason
    error: str
    message: str
    attempts: int
    at: datetime
    worker: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        what = f"{self.task or 'a message that is no job'} ({self.job_id or self.id})"
        count = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        why = f": {self.error}: {self.message}" if self.error else f": {self.message}" if self.message else ""
        link = f" {self.url}" if self.url else ""
        return f"{what} died in the queue {self.queue} after {count} ({self.reason}){why}{link}"


__all__ = ["DeadLetterNotice"]
