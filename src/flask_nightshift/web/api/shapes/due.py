"""Shapes of jobs that wait for their time, as the history knows them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .base import After, At, Limit, Name, NextKey, Shape


class DueJob(Shape):
    """A job that may start at ``due``; ``error`` and ``message`` are those of its last attempt, if it has failed."""

    id: str
    task: str
    queue: str
    state: Literal["queued", "retrying"]
    due: At
    attempts: int
    max_retries: int | None
    enqueued_at: At | None
    error: str | None
    message: str | None


class DueJobs(Shape):
    """Jobs that wait for their time, the soonest first."""

    jobs: list[DueJob]
    after: NextKey


class DueWanted(Shape):
    """Which of them, and the page."""

    state: Annotated[
        Literal["queued", "retrying"] | None, Meta(description="Delayed ones, or those that are tried again.")
    ] = None
    task: Annotated[Name | None, Meta(description="Of this task.")] = None
    queue: Annotated[Name | None, Meta(description="Of this queue.")] = None
    limit: Limit = 50
    after: After = None


__all__ = ["DueJobs", "DueWanted"]
