"""A schedule in words (``at 02:30 on weekdays, Europe/Berlin``) and as cron (``30 2 * * 1-5``).

The words follow Celery's meaning of a crontab, which differs from that of ``cron(8)``: if both are given, day of the
month *and* day of the week must fit, and a step such as ``*/7`` begins anew in each hour. Libraries that describe
crontabs follow ``cron(8)``, so their words would be wrong here. All functions are pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta, tzinfo
from typing import Any

from celery.schedules import BaseSchedule, crontab, solar
from celery.schedules import schedule as interval

LISTED = 6
"""So many times of the day are listed; more are described."""
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_ORDINALS = {2: "second", 3: "third"}
"""Of hours; the times of a greater step are few enough to be listed."""
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


def in_words(when: BaseSchedule, zone: tzinfo | None = None) -> str:
    """What ``when`` means, in a few English words; a crontab in ``zone`` if that is given, else in the app's zone."""
    if isinstance(when, crontab):
        return _of_crontab(when, zone_of(when, zone))
    if isinstance(when, interval):
        return f"every {_span(when.run_every)}" + (", at round times" if when.relative else "")
    if isinstance(when, solar):
        return f"at {_event(when.event)}, latitude {when.lat:g}, longitude {when.lon:g}"
    return f"by a {type(when).__qualname__}"


def zone_of(when: BaseSchedule, zone: tzinfo | None = None) -> str | None:
    """The name of the time zone of a crontab; None for another kind of schedule."""
    return str(zone or when.tz) if isinstance(when, crontab) else None


def as_cron(when: BaseSchedule) -> str | None:
    """The five fields of a crontab as they were given; None for another kind of schedule."""
    if not isinstance(when, crontab):
        return None
    _, (minute, hour, weekday, day, month), *_ = when.__reduce__()  # the public way to what was given
    return " ".join(map(_field, (minute, hour, day, month, weekday)))


def _field(given: Any) -> str:
    return "".join(str(given).split()) if isinstance(given, (str, int)) else ",".join(map(str, sorted(given)))


# intervals


def _span(every: timedelta) -> str:
    seconds = every.total_seconds()
    for unit, size in _UNITS:
        if seconds >= size and seconds % size == 0:
            return _counted(int(seconds // size), unit)
    return _counted(seconds, "second")


def _counted(number: float, unit: str) -> str:
    return unit if number == 1 else f"{number:g} {unit}s"


def _event(name: str) -> str:
    """``dawn_civil`` as ``civil dawn``; ``solar_noon`` and ``sunset`` as they are."""
    first, _, second = name.partition("_")
    return f"{second} {first}" if first in ("dawn", "dusk") else " ".join(filter(None, (first, second)))


# crontabs


def _of_crontab(when: crontab, zone: str | None) -> str:
    time, in_every_hour = _time(sorted(when.minute), sorted(when.hour))
    days = _days(sorted(when.day_of_month), sorted(when.day_of_week), sorted(when.month_of_year))
    if in_every_hour and not days:
        return time
    if time.startswith("at") and not days:
        days = " every day"
    return f"{time}{days}, {zone}"


def _time(minutes: Sequence[int], hours: Sequence[int]) -> tuple[str, bool]:
    """When it runs within a day, and whether that is the same in every hour."""
    if len(hours) == 24:
        return _in_every_hour(minutes), True
    if len(minutes) * len(hours) <= LISTED:
        return "at " + _and(f"{hour:02}:{minute:02}" for hour in hours for minute in minutes), False
    step, skip = _step(minutes, 60), _step(hours, 24)
    if step and _is_run(hours):
        span = f"from {hours[0]:02}:00 to {hours[-1]:02}:{minutes[-1]:02}"
        return f"every {_counted(step, 'minute')} {span}", False
    if skip and skip in _ORDINALS:
        every = f"every {_ORDINALS[skip]} hour"
        return (every if minutes == [0] else f"{_in_minutes(minutes)} of {every}"), False
    of_hours = f"the hours {_numbers(hours)}" if len(hours) > 1 else f"the hour {hours[0]}"
    return f"{_in_minutes(minutes)} of {of_hours}", False


def _in_every_hour(minutes: Sequence[int]) -> str:
    if step := _step(minutes, 60):
        return f"every {_counted(step, 'minute')}"
    return "every hour" if minutes == [0] else f"{_in_minutes(minutes)} of every hour"


def _in_minutes(minutes: Sequence[int]) -> str:
    if step := _step(minutes, 60):
        return f"every {_counted(step, 'minute')}"
    return f"at {_plural('minute', minutes)}"


def _days(of_month: Sequence[int], of_week: Sequence[int], months: Sequence[int]) -> str:
    """On which days it runs, with a space before it; empty if on all."""
    dates = "" if len(of_month) == 31 else f" on {_plural('day', of_month)} of the month"
    weekdays = "" if len(of_week) == 7 else f" {_weekdays(of_week)}"
    in_months = _months(months)
    if dates and weekdays:
        return f"{dates}{in_months}, only{weekdays}"
    return f"{dates or weekdays}{in_months}"


def _weekdays(days: Sequence[int]) -> str:
    if list(days) == [1, 2, 3, 4, 5]:
        return "on weekdays"
    if list(days) == [0, 6]:
        return "on weekends"
    monday_first = sorted(days, key=lambda day: (day - 1) % 7)
    if len(days) > 2 and _is_run([(day - 1) % 7 for day in monday_first]):
        return f"from {_DAYS[monday_first[0]]} to {_DAYS[monday_first[-1]]}"
    return "on " + _and(f"{_DAYS[day]}s" for day in monday_first)


def _months(months: Sequence[int]) -> str:
    if len(months) == 12:
        return ""
    names = [_MONTHS[month - 1] for month in months]
    if len(names) > 2 and _is_run(months):
        return f" from {names[0]} to {names[-1]}"
    return " in " + _and(names)


# numbers


def _step(numbers: Sequence[int], whole: int) -> int | None:
    """The distance of ``numbers`` if they go in equal steps round a ``whole``, from 0; None otherwise."""
    step = whole // len(numbers)
    fits = whole % step == 0 and list(numbers) == list(range(0, whole, step))
    return step if fits and len(numbers) > 1 else None


def _is_run(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(numbers[0], numbers[-1] + 1))


def _numbers(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and _is_run(numbers):
        return f"{numbers[0]} to {numbers[-1]}"
    return _and(map(str, numbers))


def _plural(noun: str, numbers: Sequence[int]) -> str:
    return f"{noun}{'s' if len(numbers) > 1 else ''} {_numbers(numbers)}"


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


__all__ = ["as_cron", "in_words", "zone_of"]
