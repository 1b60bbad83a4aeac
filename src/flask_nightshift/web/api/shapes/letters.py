"""Shapes of dead letters."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .base import At, Limit, Moment, Name, Shape, Text, Why
from .copies import NewArgs, NewKwargs
from .jobs import Arguments

Status = Literal["waiting", "replaying", "replayed", "discarded"]
Cause = Literal[
    "exhausted", "permanent", "rejected", "expired", "revoked", "unknown_task", "invalid", "undecodable",
    "delivery_limit",
]  # fmt: skip
Left = Annotated[
    int, Meta(description="How many were not looked at, because somebody interrupted the command.")
]
Ids = Annotated[
    list[Name],
    Meta(
        min_length=1,
        max_length=100,
        description="Ids of dead letters or of their jobs, or the start or end of one.",
    ),
]


class EndedAttempt(Shape):
    """An ended attempt that the message carried; ``runtime`` in seconds."""

    number: int
    at: str
    worker: str
    runtime: float | None
    error: str
    message: str


class DeadLetter(Shape):
    """A dead letter. Those of one ``fingerprint`` died of one cause."""

    id: str
    job_id: str | None
    task: str | None
    queue: str
    reason: Cause
    error: str | None
    message: str | None
    traceback: str | None
    fingerprint: str
    place: Annotated[
        str, Meta(description="The line of the app's own code that failed, as far as it is known.")
    ]
    at: Annotated[At, Meta(description="When it died.")]
    worker: str | None
    status: Status
    status_at: At
    args: Arguments
    kwargs: Arguments
    new_args: Annotated[str | None, Meta(description="With what it was replayed, if they were changed.")]
    new_kwargs: Annotated[str | None, Meta(description="With what it was replayed, if they were changed.")]
    origin: Annotated[str | None, Meta(description="The job of which it is a copy.")]
    attempts: Annotated[list[EndedAttempt], Meta(description="The last ten, the oldest first.")]


class DeadLetterPage(Shape):
    """Dead letters, the latest death first."""

    dead_letters: list[DeadLetter]
    after: Annotated[str | None, Meta(description="The key of the next page; null after the last page.")]


class Replayed(Shape):
    """What became of the dead letters: their ids, or why one was skipped."""

    ids: list[str]
    skipped: Annotated[dict[str, str], Meta(description="Why, by id.")]
    dry_run: bool
    left: Left
    queues: Annotated[list[str], Meta(description="Where their jobs are now.")]
    unheard: Annotated[list[str], Meta(description="Those queues that no healthy worker consumes.")]


class Discarded(Shape):
    """What became of the dead letters: their ids, or why one was skipped."""

    ids: list[str]
    skipped: Annotated[dict[str, str], Meta(description="Why, by id.")]
    dry_run: bool
    left: Left


class LettersWanted(Shape):
    """Conditions that a dead letter meets, all of them, and the page."""

    status: Annotated[Status | Literal["any"], Meta(description="What became of it.")] = "waiting"
    task: Annotated[Name | None, Meta(description="Of this task.")] = None
    reason: Annotated[Cause | None, Meta(description="Why it died.")] = None
    fingerprint: Annotated[Name | None, Meta(description="Of this cause.")] = None
    since: Annotated[Moment | None, Meta(description="Died since.")] = None
    limit: Limit = 50
    after: Annotated[Text | None, Meta(description="The key that the page before has named.")] = None


class Replay(Shape):
    """Which dead letters to replay, and how. A letter that was replayed is skipped, so a repeated request is safe."""

    ids: Ids
    queue: Annotated[
        Name | None, Meta(description="Send them to this queue, not to the one they came from.")
    ] = None
    force: Annotated[bool, Meta(description="Also discarded ones, and messages that are no jobs.")] = False
    dry_run: Annotated[bool, Meta(description="Only say what would be done.")] = False
    why: Why = ""


class ReplayChanged(Shape):
    """Other arguments for a dead letter; what is left out stays as it is."""

    args: NewArgs | None = None
    kwargs: NewKwargs | None = None
    queue: Annotated[Name | None, Meta(description="Send it to this queue, not to the one it came from.")] = (
        None
    )
    force: Annotated[bool, Meta(description="Also a discarded one.")] = False
    why: Why = ""


class Discard(Shape):
    """Which dead letters to discard."""

    ids: Ids
    dry_run: Annotated[bool, Meta(description="Only say what would be done.")] = False
    why: Why = ""


__all__ = [
    "DeadLetter", "DeadLetterPage", "Discard", "Discarded", "EndedAttempt", "LettersWanted", "Replay", "ReplayChanged",
    "Replayed",
]  # fmt: skip
