"""Shapes of jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from .base import After, At, Limit, Moment, Name, NextKey, Shape, Text, Why

Known = Literal["queued", "running", "retrying", "succeeded", "dead", "skipped", "cancelled", "expired"]
State = Known | Literal["unknown"]
Arguments = Annotated[
    str | None, Meta(description="A text for people; *** without the permission view_args.")
]


class Job(Shape):
    """A job in a list. ``attempts`` are those of its latest ``run``, which counts the replays before it."""

    id: str
    task: str
    queue: str
    state: State
    run: int
    attempts: int
    args: Arguments
    kwargs: Arguments
    error: Annotated[str | None, Meta(description="The type of its last error, until a success.")]
    error_message: str | None
    enqueued_at: At | None
    started_at: At | None
    finished_at: At | None
    due_at: At | None
    worker: str | None
    request_id: str | None
    tags: list[str]


class JobPage(Shape):
    """Jobs, the latest enqueued first."""

    jobs: list[Job]
    after: Annotated[str | None, Meta(description="The key of the next page; null after the last page.")]
    looked_back_to: Annotated[
        At | None,
        Meta(
            description="A search looked at jobs since then, and the next page goes on; null if it looked at all."
        ),
    ]


class Error(Shape):
    """The last failure: the type of the exception, and its text."""

    error: str
    message: str


class Attempt(Shape):
    """An attempt. ``wait`` and ``runtime`` are seconds; ``due_at`` is when the next attempt was planned for."""

    run: int
    number: int
    at: At
    worker: str
    wait: float | None
    ended_at: At | None
    outcome: str | None
    runtime: float | None
    error: str | None
    message: str | None
    traceback: str | None
    due_at: At | None


class Pause(Shape):
    """A pause of a queue: since when, by whom, and why."""

    queue: str
    at: At
    by: str
    reason: str | None


class Relative(Shape):
    """A job in the tree of relatives. A ``state`` of null: it is announced, and not enqueued yet."""

    job_id: str
    task: str
    state: State | None
    worker: str | None
    due_at: At | None
    parts: list[Relative]
    children: list[Relative]


class Next(Shape):
    """What comes next: the ``retry`` or ``start`` of this job at a time, or another ``job`` or ``chord`` after it."""

    what: Literal["retry", "start", "job", "chord"]
    at: At | None
    job_id: str | None
    task: str | None


class Cause(Shape):
    """One reason why a job waits, as a word and as a sentence."""

    cause: str
    sentence: str


class Waiting(Shape):
    """Why a job waits: the main reason, and what else would keep it."""

    cause: str
    sentence: str
    also: list[Cause]


class JobDetail(Shape):
    """A job with its attempts and relatives, what comes next, and why it waits."""

    id: str
    task: str
    queue: str
    state: State
    run: int
    attempts: int
    max_retries: int | None
    args: Arguments
    kwargs: Arguments
    progress: Annotated[Any, Meta(description="What it said last: done, total and message.")]
    result: Annotated[
        Any, Meta(description="What the task returned, if that is stored; *** without view_args.")
    ]
    error: Error | None
    enqueued_at: At | None
    started_at: At | None
    finished_at: At | None
    due_at: At | None
    worker: str | None
    request_id: str | None
    tags: list[str]
    history: Annotated[list[Attempt], Meta(description="Every attempt of every run, the oldest first.")]
    progress_at: At | None
    queue_paused: Pause | None
    parent_id: str | None
    root_id: str | None
    group_id: str | None
    chord_id: str | None
    origin_id: Annotated[str | None, Meta(description="The job of which it is a copy.")]
    copies: Annotated[list[str], Meta(description="Jobs that are copies of it.")]
    family: Annotated[list[Relative], Meta(description="The trees of its relatives.")]
    next: list[Next]
    waiting: Waiting | None


class Cancellation(Shape):
    """What was done about a job. ``removed``: it is out of its queue. Otherwise a worker drops or stops it."""

    job_id: str
    task: str | None
    queue: str | None
    removed: bool
    worker: Annotated[str | None, Meta(description="The worker that runs it.")]
    kill: bool
    notes: Annotated[list[str], Meta(description="What could not be done.")]


class Cancellations(Shape):
    """What was done about the jobs of a filter: removed, or told to workers; ``left`` were not looked at."""

    jobs: int
    removed: int
    told: int
    left: int
    notes: list[str]
    dry_run: bool


class DelayedJob(Shape):
    """A job that waits for its time; ``due`` is null if that cannot be read."""

    job_id: str
    task: str
    queue: str
    due: At | None


class DelayedJobs(Shape):
    """Delayed jobs, the soonest first."""

    jobs: list[DelayedJob]
    more: Annotated[bool, Meta(description="Whether there are more than the limit.")]
    after: NextKey


class RunNow(Shape):
    """A job that is next in its queue now."""

    job_id: str
    queue: str


class Taken(Shape):
    """A job that was taken out of the delayed ones of ``queue``; null: it is not delayed (any more)."""

    job_id: str
    queue: str | None


class HandedOver(Shape):
    """How many delayed jobs of a queue were left to workers of plain Celery."""

    queue: str
    handed_over: int


class JobsCounted(Shape):
    """Conditions that a job meets, all of them."""

    q: Annotated[
        Text | None, Meta(description="A query: state:retrying task:mail.* error:timeout since:2h text")
    ] = None
    state: Annotated[Known | None, Meta(description="In this state.")] = None
    task: Annotated[
        Name | None, Meta(description="Of this task; mail.* is every task whose name begins so.")
    ] = None
    queue: Annotated[Name | None, Meta(description="Enqueued in this queue.")] = None
    worker: Annotated[Name | None, Meta(description="Run by this worker, last.")] = None
    error: Annotated[Name | None, Meta(description="Dead or retrying because of this type of error.")] = None
    tag: Annotated[Name | None, Meta(description="With this tag.")] = None
    since: Annotated[Moment | None, Meta(description="Enqueued since.")] = None
    until: Annotated[Moment | None, Meta(description="Enqueued before.")] = None
    search: Annotated[
        Text | None, Meta(description="A text in its arguments, error, id or request id; needs view_args.")
    ] = None


class JobsWanted(JobsCounted):
    """Conditions that a job meets, all of them, and the page."""

    limit: Limit = 50
    after: After = None


class JobCount(Shape):
    """The number of jobs; with ``more``, there are at least as many."""

    number: int
    more: bool


class DelayedWanted(Shape):
    """Which delayed jobs."""

    queue: Annotated[Name | None, Meta(description="In this queue only.")] = None
    limit: Limit = 50
    after: After = None


class Cancel(Shape):
    """How to cancel."""

    kill: Annotated[bool, Meta(description="If it runs, kill its child process (pool prefork).")] = False
    why: Why = ""


class Reason(Shape):
    """Why."""

    why: Why = ""


__all__ = [
    "Attempt", "Cancel", "Cancellation", "Cancellations", "DelayedJob", "DelayedJobs", "DelayedWanted",
    "HandedOver", "Job", "JobCount", "JobDetail", "JobPage", "JobsCounted",
    "JobsWanted", "Pause", "Reason", "Relative", "RunNow",
    "State", "Taken", "Waiting",
]  # fmt: skip
