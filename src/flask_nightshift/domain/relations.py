"""What connects a job with others: its parent, its group, its chord, and the jobs that follow it."""

from __future__ import annotations

from typing import NamedTuple

MOST_FOLLOWING = 20
"""Following jobs of a chain that are announced ahead, besides the last one, whose id its caller has."""


class Announced(NamedTuple):
    """A job that is not enqueued yet: its id, its task, and the job after which it comes.

    ``size`` is the number of jobs for which it waits if it is the body of a chord.
    """

    job_id: str
    task: str
    after: str | None = None
    size: int | None = None


class Relations(NamedTuple):
    """What a job's message says about its connections; the ids are those of Celery's headers.

    ``announced`` are the jobs that are to follow it: the rest of its chain, and the body of its chord.
    ``origin`` is the job of which it is a copy.
    """

    parent: str | None = None
    root: str | None = None
    group: str | None = None
    chord: str | None = None
    announced: tuple[Announced, ...] = ()
    origin: str | None = None


__all__ = ["MOST_FOLLOWING", "Announced", "Relations"]
