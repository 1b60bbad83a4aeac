"""Shapes of the first page: is it well, and how did it go?"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .base import At, Shape

Tone = Literal["bad", "warn", "good", "quiet"]
Period = Literal["hour", "day", "month"]


class Trouble(Shape):
    """Something that is wrong, and the page that shows more."""

    tone: Tone
    sentence: str
    about: str


class Verdict(Shape):
    """The sentence of the worst trouble, or that all is well."""

    tone: Tone
    sentence: str
    troubles: list[Trouble]


class Point(Shape):
    """The attempts that ended in the step that begins ``at``; quantiles in seconds, null if none was measured."""

    at: At
    ended: int
    succeeded: int
    retried: int
    died: int
    wait_p50: float | None
    wait_p95: float | None
    runtime_p50: float | None
    runtime_p95: float | None


class Deploy(Shape):
    """A version of the app, and when a worker first ran it."""

    version: str
    at: At


class SystemTrend(Shape):
    """A point for each step, the oldest first, one for the ``whole`` period, and the deploys within."""

    period: Period
    since: At
    until: At
    step_seconds: float
    points: Annotated[list[Point], Meta(description="The last step is not over yet.")]
    whole: Point
    deploys: list[Deploy]


class TrendWanted(Shape):
    """How far back."""

    period: Annotated[Period, Meta(description="The last hour, day, or 30 days.")] = "hour"


class TaskTotals(Shape):
    """The attempts of a task that ended, by how they ended.

    ``failed`` is the share of them that were retried or died, 0 to 1; ``seconds`` is the sum of their runtimes. The
    quantiles are in seconds, null if none was measured.
    """

    task: str
    queues: list[str]
    ended: int
    succeeded: int
    retried: int
    died: int
    others: int
    failed: float
    seconds: float
    runtime_p50: float | None
    runtime_p95: float | None
    wait_p95: float | None


class Tasks(Shape):
    """The tasks of which an attempt ended within the period."""

    period: Period
    since: At
    until: At
    tasks: list[TaskTotals]


class TasksWanted(Shape):
    """How far back, and in which order."""

    period: Annotated[Period, Meta(description="The last hour, day, or 30 days.")] = "hour"
    order: Annotated[
        Literal["busiest", "failing", "slowest", "name"],
        Meta(
            description="By the sum of the runtimes, by deaths and retries, by the runtime of 95 %, or by name."
        ),
    ] = "busiest"


__all__ = ["SystemTrend", "Tasks", "TasksWanted", "TrendWanted", "Verdict"]
