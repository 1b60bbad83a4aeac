"""Words for durations, times and jobs."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...domain.job import JobState
from ...domain.relatives import Relative


def span(length: timedelta) -> str:
    """A duration in words: ``12 s``, ``3 min``, ``2 h``, ``5 days``."""
    seconds = max(0.0, length.total_seconds())
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} days"


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


__all__ = ["clock", "named", "span", "state"]
