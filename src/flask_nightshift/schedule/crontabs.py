"""Compute when a crontab runs next, also on the two days of a year on which clocks change.

Celery counts the hours that the clock shows. When summer time ends, it treats the repeated hour as one, and an hourly
job skips the second. Here a crontab whose hour is ``*`` or a step (``*/2``) runs in every real hour. A crontab that
names hours runs once at each: in the first of two repeated hours, or after the gap when summer time begins.

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


def knows(spec: Any) -> bool:
    """Whether ``spec`` is a crontab of Celery's own class, with no clock of its own."""
    return type(spec) is crontab and spec.nowfun is None


def distinguishes(zone: Any) -> bool:
    """Whether ``zone`` distinguishes the repeated hours."""
    return isinstance(zone, (ZoneInfo, timezone))


def said(spec: crontab) -> tuple[Any, ...]:
    """The fields of ``spec`` as they were given: minute, hour, day of the month, month, day of the week."""
    days = spec._orig_day_of_month, spec._orig_month_of_year, spec._orig_day_of_week  # noqa: SLF001
    return spec._orig_minute, spec._orig_hour, *days  # noqa: SLF001


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


def _on(spec: crontab, day: date) -> bool:
    return (
        day.month in spec.month_of_year
        and day.day in spec.day_of_month
        and day.isoweekday() % 7 in spec.day_of_week
    )


def _moments(spec: crontab, day: date, hour: int, zone: tzinfo) -> list[datetime]:
    """The moments at which ``spec`` runs within one hour of the clock, in order."""
    walls = [datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone) for minute in spec.minute]
    if not _in_every_hour(spec):
        return sorted(wall.astimezone(UTC) for wall in walls)
    return sorted({moment for wall in walls for moment in _passing(wall)})


def _in_every_hour(spec: crontab) -> bool:
    """Whether the hour of ``spec`` is ``*`` or a step, and so counts the hours that pass."""
    hour = said(spec)[1]
    steps = isinstance(hour, str) and all(part.startswith("*") for part in hour.split(","))
    return steps or len(spec.hour) == 24


def _passing(wall: datetime) -> Iterator[datetime]:
    """The moments at which the clock shows ``wall``: one, two when summer time ends, none when it begins."""
    for fold in (0, 1):
        moment = wall.replace(fold=fold).astimezone(UTC)
        if moment.astimezone(wall.tzinfo).replace(tzinfo=None) == wall.replace(tzinfo=None):
            yield moment


__all__ = ["MOST_DAYS", "distinguishes", "knows", "next_run", "said"]
