"""When an entry is due: a fixed series of moments, or a schedule that depends on when it last ran.

A crontab and an interval are series: every Beat computes the same moments, whenever it runs. Other schedules (a
relative interval, solar events, classes of the user's own) decide by themselves from the last run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from celery.schedules import BaseSchedule, crontab, solar
from celery.schedules import schedule as interval

from . import crontabs


@dataclass(frozen=True, slots=True)
class Every:
    """An interval: its moments are whole intervals after an anchor."""

    step: timedelta

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        """The first moment after ``moment``."""
        return anchor + max(1, (moment - anchor) // self.step + 1) * self.step

    @property
    def spec(self) -> str:
        """The interval as text."""
        return f"every {self.step.total_seconds():g} s"


@dataclass(frozen=True, slots=True)
class Cron:
    """A crontab in a time zone."""

    crontab: Any
    zone: tzinfo

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:  # noqa: ARG002 - as Every
        """The first moment (UTC) after ``moment``; None if there is none."""
        try:
            return crontabs.next_run(self.crontab, moment, self.zone)
        except (ValueError, OverflowError):
            return None

    @property
    def spec(self) -> str:
        """The crontab as text: minute, hour, day of the month, month, day of the week."""
        said = crontabs.said(self.crontab)
        return " ".join(map(_field, said))


@dataclass(frozen=True, slots=True)
class Custom:
    """A schedule that computes from its last run whether it is due."""

    schedule: Any

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:  # noqa: ARG002 - as Every
        """None: only the schedule itself knows."""
        return None

    @property
    def spec(self) -> str:
        """The schedule as its class shows it."""
        return repr(self.schedule)


Timing = Every | Cron | Custom


def timing_of(when: BaseSchedule, zone: tzinfo | None = None) -> Timing:
    """The timing of ``when``, a crontab in ``zone`` if that is given, else in the app's time zone."""
    if crontabs.knows(when):
        in_zone = zone if zone is not None else when.tz
        if crontabs.distinguishes(in_zone):
            return Cron(when, in_zone)
    if type(when) is interval and not when.relative and when.nowfun is None:
        return Every(when.run_every)
    return Custom(when)


def fingerprint(when: BaseSchedule, zone: tzinfo | None = None) -> str:
    """A short fingerprint of ``when``, which changes with the schedule or its time zone."""
    if isinstance(when, crontab):
        fields = (when.minute, when.hour, when.day_of_month, when.month_of_year, when.day_of_week)
        meaning: tuple[Any, ...] = (*map(sorted, fields), str(zone if zone is not None else when.tz))
    elif isinstance(when, interval):
        meaning = (when.run_every, when.relative)
    elif isinstance(when, solar):
        meaning = (when.event, when.lat, when.lon)
    else:
        meaning = ()  # a repr may differ between processes
    kind = type(when)
    return hashlib.sha256(repr((kind.__module__, kind.__qualname__, meaning)).encode()).hexdigest()[:16]


def _field(said: Any) -> str:
    """A field of a crontab as text; it may be given as numbers."""
    if isinstance(said, (str, int)):
        return "".join(str(said).split())
    return ",".join(map(str, sorted(said)))


__all__ = ["Cron", "Custom", "Every", "Timing", "fingerprint", "timing_of"]
