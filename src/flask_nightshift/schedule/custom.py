"""Schedules that decide from their last run whether they are due: Celery's relative and solar ones, and the user's own.

Beats compare and set the last run: of several that find such an entry due, one enqueues its job.
"""

from __future__ import annotations

from datetime import UTC, datetime

from .clock import ServerClock
from .entry import JobEntry
from .life import Life
from .timing import Custom, timing_of


def set_clock(entry: JobEntry, clock: ServerClock) -> None:
    """Have the schedule of ``entry`` read the server's clock, unless it decides for itself or has another clock."""
    when = entry.schedule
    if isinstance(timing_of(when, entry.timezone), Custom) and getattr(when, "nowfun", clock) is None:
        entry.read(clock.now)


def due(entry: JobEntry, life: Life) -> tuple[datetime | None, float]:
    """When the entry is due (None: not now), and the seconds until the next look at it."""
    entry.last_run_at = life.last.astimezone(entry.default_now().tzinfo)
    is_due, seconds = entry.is_due()
    if life.sending is not None:
        return life.sending, float(seconds)
    return (entry.default_now().astimezone(UTC) if is_due else None), float(seconds)


__all__ = ["due", "set_clock"]
