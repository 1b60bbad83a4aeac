"""Shapes of the schedule."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from .base import At, Shape
from .jobs import Arguments


class Run(Shape):
    """A run of an entry. ``state`` is null while the history does not know the job."""

    due_at: At
    job_id: str
    state: str | None
    error: str | None
    message: str | None


class Entry(Shape):
    """An entry of the schedule: in words, its next run, its last runs and what became of them."""

    name: str
    task: str
    words: str
    cron: str | None
    timezone: str | None
    queue: str | None
    args: Arguments
    kwargs: Arguments
    options: Annotated[Any, Meta(description="Options of apply_async; *** without view_args.")]
    catch_up: str
    overlap: str | None
    jitter: float
    next_at: At | None
    paused_at: At | None
    paused_by: str | None
    skips_until: At | None
    count: int
    runs: list[Run]


class Entries(Shape):
    """The entries by name, each with its last run."""

    entries: list[Entry]


class EntryRun(Shape):
    """The job of an entry that was enqueued now."""

    entry: str
    job_id: str


class EntrySkipped(Shape):
    """The run of an entry that is left out."""

    entry: str
    left_out: At


class EntryPaused(Shape):
    """An entry that is paused."""

    entry: str
    paused_at: At


class EntryResumed(Shape):
    """Whether there was something to take back."""

    entry: str
    resumed: bool


__all__ = ["Entries", "Entry", "EntryPaused", "EntryResumed", "EntryRun", "EntrySkipped", "Run"]
