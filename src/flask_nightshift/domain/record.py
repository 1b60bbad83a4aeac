"""What the history knows about a job and its attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from .job import JobState, Outcome


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

    ``attempts`` is the number of attempts that started in its latest run. ``args`` and ``kwargs`` are texts for people,
    as Python's ``repr()`` writes them. ``result`` is the task's return value (if results are stored). ``error`` is the
    last failure as ``{"error", "message"}`` until a success. ``progress`` is what it reported last, at ``progress_at``,
    as ``{"done", "total", "message"}``. ``history`` contains every attempt of every run, oldest first.
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
    tags: tuple[str, ...] = ()
    history: list[AttemptRecord] = field(default_factory=list)
    progress_at: datetime | None = None

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


__all__ = ["AttemptRecord", "JobRecord"]
