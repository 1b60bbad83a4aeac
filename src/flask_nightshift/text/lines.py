"""A log message with fields: structured after ``logs.configure``, one line of text otherwise."""

from __future__ import annotations

from typing import Any

from ..domain.job import JobRef
from .printable import in_a_line

LOGGER = "flask_nightshift.jobs"
"""The name of the logger of all lines about jobs."""


class Line:
    """``event`` names what happened, ``text`` says it in a sentence; fields that are None are omitted."""

    def __init__(self, event: str, text: str = "", **fields: Any) -> None:
        self.event = event
        self.text = text
        self.fields = {key: value for key, value in fields.items() if value is not None}

    def __str__(self) -> str:
        head = f"{self.event}: {self.text}" if self.text else self.event
        return in_a_line(" ".join([head, *(f"{key}={value}" for key, value in self.fields.items())]))


def job_fields(job: JobRef) -> dict[str, Any]:
    """The fields of every line about a job."""
    fields: dict[str, Any] = {
        "job_id": job.job_id,
        "task": job.task,
        "attempt": job.attempt,
        "queue": job.queue,
    }
    if job.request_id:
        fields["request_id"] = job.request_id
    return fields


__all__ = ["LOGGER", "Line", "job_fields"]
