"""Shapes of incidents, and of actions on all jobs or dead letters that match."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from ....operations.bulk import FASTEST, SLOWEST
from .base import After, At, Limit, Moment, Name, NextKey, Shape, Text, Why
from .letters import Cause

Rate = Annotated[float, Meta(ge=SLOWEST, le=FASTEST, description="At most this many per second.")]
TrendOf = Annotated[Literal["hours", "days"], Meta(description="Deaths in each of 24 hours, or of 14 days.")]
DryRun = Annotated[bool, Meta(description="Only say how many it would act on.")]


class Trend(Shape):
    """Deaths in each bucket of ``seconds``, the oldest first."""

    start: At
    seconds: int
    counts: list[int]


class Incident(Shape):
    """Dead letters of one cause: how many there are by status, since when, and the latest as an example."""

    fingerprint: str
    task: str | None
    reason: str
    error: str | None
    message: str | None
    place: str
    waiting: int
    replaying: int
    replayed: int
    discarded: int
    first_at: At
    last_at: At
    trend: Trend
    example: str
    job_id: str | None


class Incidents(Shape):
    """Incidents, of ``total`` that were asked for; ``waiting`` letters in all of these."""

    incidents: list[Incident]
    total: int
    waiting: int
    after: NextKey


class IncidentsWanted(Shape):
    """Conditions that an incident meets."""

    task: Annotated[Name | None, Meta(description="Of this task.")] = None
    reason: Annotated[Cause | None, Meta(description="Why they died.")] = None
    since: Annotated[Moment | None, Meta(description="A letter died since.")] = None
    status: Annotated[Literal["open", "any"], Meta(description="Whether some of its letters wait.")] = "open"
    order: Annotated[
        Literal["latest", "count"], Meta(description="The latest death first, or the most waiting letters.")
    ] = "latest"
    trend: TrendOf = "hours"
    limit: Limit = 50
    after: After = None


class IncidentWanted(Shape):
    """Which trend of an incident."""

    trend: TrendOf = "hours"


class BulkAction(Shape):
    """An action that workers carry out: how far it is, and how many were skipped, by reason."""

    id: str
    action: str
    filters: Annotated[Any, Meta(description="Whom it is about.")]
    options: Annotated[Any, Meta(description="How.")]
    by: str
    why: str | None
    rate: float
    state: str
    total: int
    acted: int
    skipped: int
    reasons: dict[str, int]
    worker: str | None
    error: str | None
    created_at: At
    started_at: At | None
    ended_at: At | None


class BulkActions(Shape):
    """Bulk actions, the latest first."""

    actions: list[BulkAction]
    after: NextKey


class BulkWanted(Shape):
    """Which page of bulk actions."""

    limit: Limit = 50
    after: After = None


class Started(Shape):
    """How many it acts on; ``bulk`` is null after a dry run."""

    total: int
    dry_run: bool
    bulk: BulkAction | None


class AllLetters(Shape):
    """Dead letters that wait and meet all conditions. Without a condition, ``everything`` must be true."""

    task: Annotated[Name | None, Meta(description="Of this task.")] = None
    reason: Annotated[Cause | None, Meta(description="Why they died.")] = None
    fingerprint: Annotated[Name | None, Meta(description="Of this cause.")] = None
    since: Annotated[Moment | None, Meta(description="Died since.")] = None
    everything: Annotated[bool, Meta(description="All that wait.")] = False
    rate: Rate | None = None
    dry_run: DryRun = False
    why: Why = ""


class ReplayAll(AllLetters):
    """The dead letters to replay, and how."""

    queue: Annotated[
        Name | None, Meta(description="Send them to this queue, not to the one they came from.")
    ] = None
    force: Annotated[bool, Meta(description="Also discarded ones, and messages that are no jobs.")] = False


class AllJobs(Shape):
    """Jobs that have not ended and match the query. Without a query, ``everything`` must be true."""

    q: Annotated[Text, Meta(description="A query: state:queued task:mail.* since:2h")] = ""
    everything: Annotated[bool, Meta(description="All that have not ended.")] = False
    rate: Rate | None = None
    dry_run: DryRun = False
    why: Why = ""


class CancelAll(AllJobs):
    """The jobs to cancel, and how."""

    kill: Annotated[bool, Meta(description="If they run, kill their child processes (pool prefork).")] = False


__all__ = [
    "AllJobs", "AllLetters", "BulkAction", "BulkActions", "BulkWanted", "CancelAll", "Incident", "IncidentWanted",
    "Incidents", "IncidentsWanted", "ReplayAll", "Started",
]  # fmt: skip
