"""Words for times and jobs."""

from __future__ import annotations

from datetime import datetime

from ...domain.job import JobState
from ...domain.relatives import Relative


def clock(moment: datetime | None) -> str:
    """A moment for people."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"


def named(one: Relative) -> str:
    """A job for people."""
    return f"{one.task or 'the job'} {one.job_id}"


def state(one: Relative) -> str:
    """What the job does, to follow its name and "which"."""
    match one.state:
        case None:
            return "is not enqueued yet"
        case JobState.RUNNING:
            return f"runs on {one.worker}" if one.worker else "runs"
        case JobState.RETRYING:
            return f"is retried at {clock(one.due_at)}" if one.due_at else "is retried"
        case JobState.QUEUED:
            return "is queued"
        case JobState.SUCCEEDED:
            return "succeeded just now"
        case JobState.DEAD:
            return "died, so nothing follows it until it is replayed"
    return f"is {one.state}"


__all__ = ["clock", "named", "state"]
