"""When a crontab runs next, also on the two days of a year on which the clock changes.

Celery counts in the clock's own hours: when summer time ends, the hour that comes twice is one hour to it, and an
hourly job skips the second. Here a crontab whose hour is ``*`` runs in each hour that passes; one that names hours
runs once at each of them, in the first of the two, or after the gap when summer time begins.

Pure functions: the clock is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from celery.schedules import crontab

MOST_DAYS = 366 * 41
"""Days to look ahead: 29 February falls on a given day of the week every 40 years at worst."""
_SMALLEST = timedelta(microseconds=1)


def knows(spec: Any) -> bool:
    """Whether ``spec`` is a crontab of Celery's own kind, in a zone that tells the two hours apart."""
    return type(spec) is crontab and isinstance(spec.tz, (ZoneInfo, timezone))


def next_run(spec: crontab, after: datetime, zone: tzinfo) -> datetime:
    """The first moment (UTC) after ``after`` at which ``spec`` runs in ``zone``; ``ValueError`` if it never does."""
    begin = after.astimezone(zone)
    for days in range(MOST_DAYS):
        day = begin.date() + timedelta(days)
        if not _on(spec, day):
            continue
        for hour in sorted(spec.hour):
            if days == 0 and hour < begin.hour - 1:  # an hour that the clock leaves out ends up in the next
                continue
            for moment in _moments(spec, day, hour, zone):
                if moment > after:
                    return moment
    raise ValueError(f"{spec!r} never runs")


def due(next_at: datetime, spec: crontab, now: datetime, deadline: float | None = None) -> tuple[bool, float]:
    """Whether a run that was to come at ``next_at`` is due, and the seconds from ``now`` until the next one.

    ``deadline`` is Celery's ``beat_cron_starting_deadline``: a run that was missed by more seconds is left out.
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
    """The moments of one hour of the clock at which ``spec`` runs, in order."""
    walls = [datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone) for minute in spec.minute]
    if len(spec.hour) < 24:
        return sorted(wall.astimezone(UTC) for wall in walls)
    return sorted({moment for wall in walls for moment in _passing(wall)})


def _passing(wall: datetime) -> Iterator[datetime]:
    """When the clock shows ``wall``: once, twice when summer time ends, never when it begins."""
    for fold in (0, 1):
        moment = wall.replace(fold=fold).astimezone(UTC)
        if moment.astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None):
            yield moment


__all__ = ["MOST_DAYS", "due", "knows", "next_run"]
