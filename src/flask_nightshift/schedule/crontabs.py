"""Compute when a crontab runs next, also on the two days of a year on which clocks change.

Celery counts the hours that the clock shows. When summer time ends, it treats the repeated hour as one, and an hourly
job skips the second. Here a crontab whose hour is ``*`` runs in every real hour. A crontab that names hours runs once
at each: in the first of two repeated hours, or after the gap when summer time begins.

All functions are pure; the caller passes the time in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab

MOST_DAYS = 366 * 41
"""Days to look ahead: in the worst case, 29 February falls on a given weekday every 40 years."""
_SMALLEST = timedelta(microseconds=1)


def knows(spec: Any) -> bool:
    """Whether ``spec`` is a crontab of Celery's own class, in a zone that distinguishes the repeated hours."""
    return type(spec) is crontab and isinstance(spec.tz, (ZoneInfo, timezone))


def next_run(spec: crontab, after: datetime, zone: tzinfo) -> datetime:
    """The first moment (UTC) after ``after`` at which ``spec`` runs in ``zone``; ``ValueError`` if it never does."""
    begin = after.astimezone(zone)
    for days in range(MOST_DAYS):
        day = begin.date() + timedelta(days)
        if not _on(spec, day):
            continue
        for hour in sorted(spec.hour):
            if days == 0 and hour < begin.hour - 1:  # an hour that the clock skips moves to the next one
                continue
            for moment in _moments(spec, day, hour, zone):
                if moment > after:
                    return moment
    raise ValueError(f"{spec!r} never runs")


def due(next_at: datetime, spec: crontab, now: datetime, deadline: float | None = None) -> tuple[bool, float]:
    """Whether the run planned for ``next_at`` is due, and the seconds from ``now`` until the next one.

    ``deadline`` is Celery's ``beat_cron_starting_deadline``: a run that is late by more seconds is skipped.
    """
    if next_at > now:
        return False, (next_at - now).total_seconds()
    following = next_run(spec, now, spec.tz)
    late = deadline is not None and next_at < now - timedelta(seconds=deadline)
    if late:
        oldest = now - timedelta(seconds=float(deadline or 0)) - _SMALLEST
        late = next_run(spec, oldest, spec.tz) > now
    return not late, (following - now).total_seconds()


def _on(spec: crontab, day: date) -> bool:
    return (
        day.month in spec.month_of_year
        and day.day in spec.day_of_month
        and day.isoweekday() % 7 in spec.day_of_week
    )


def _moments(spec: crontab, day: date, hour: int, zone: tzinfo) -> list[datetime]:
    """The moments at which ``spec`` runs within one hour of the clock, in order."""
    walls = [datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone) for minute in spec.minute]
    if len(spec.hour) < 24:
        return sorted(wall.astimezone(UTC) for wall in walls)
    return sorted({moment for wall in walls for moment in _passing(wall)})


def _passing(wall: datetime) -> Iterator[datetime]:
    """The moments at which the clock shows ``wall``: one, two when summer time ends, none when it begins."""
    for fold in (0, 1):
        moment = wall.replace(fold=fold).astimezone(UTC)
        if moment.astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None):
            yield moment


__all__ = ["MOST_DAYS", "due", "knows", "next_run"]
