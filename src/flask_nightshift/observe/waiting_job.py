"""A job that waits for its time, and a page of them, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..domain.job import JobState


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job that may start at ``due``. ``error`` and ``message`` are those of its last attempt, if it has failed."""

    id: str
    task: str
    queue: str
    state: JobState
    due: datetime
    attempts: int
    max_retries: int | None
    enqueued_at: datetime | None
    error: str | None
    message: str | None

    def as_dict(self) -> dict[str, Any]:
        """The job in plain JSON types."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
        } | {"state": str(self.state)}


@dataclass(frozen=True, slots=True)
class Page:
    """Some of them, and ``after``, the key with which the next page begins; None if there is none."""

    jobs: list[WaitingJob] = field(default_factory=list)
    after: str | None = None


__all__ = ["Page", "WaitingJob"]
