"""The schedule in a test: the ticks between two moments, as Beat computes them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ..domain.job import is_celery_internal
from ..schedule import custom, due, jobs, lookup
from ..schedule.entries import PRUNE
from ..schedule.entry import JobEntry
from ..schedule.life import Life
from ..services import Services

AT_ONCE = timedelta(minutes=1)
"""Time between two calls of ``travel()`` in which a test runs."""
MOST = 10_000
"""Ticks that one step may have."""


class Clock:
    """The time of the test: the machine's, and what the test has travelled."""

    def __init__(self, now: Any) -> None:
        self._now = now
        self.ahead = timedelta()

    def now(self) -> datetime:
        """The time."""
        moment: datetime = self._now()
        return moment + self.ahead


class Timetable:
    """The entries of an app, and until when their ticks are dealt with."""

    def __init__(self, services: Services, clock: Clock) -> None:
        self._services, self._clock = services, clock
        self._until = self._anchor = clock.now()
        self._lives: dict[str, Life] = {}
        self._custom: dict[str, datetime] = {}  # the last ticks of schedules that decide for themselves

    def ticks(self, until: datetime) -> list[tuple[datetime, JobEntry]]:
        """The ticks from now until ``until`` that had no job yet, in order of time; then they are dealt with."""
        now = self._clock.now()
        if not timedelta() <= now - self._until < AT_ONCE:
            self._until = now  # the test has set its clock meanwhile: that is no time that passed
        found = [tick for entry in self._entries() for tick in self._of(entry, until)]
        self._until = until
        return sorted(found, key=lambda tick: (tick[0], tick[1].name))

    def enqueue(self, entry: JobEntry, at: datetime) -> None:
        """Enqueue the job of a tick."""
        options = jobs.options_at(entry, at)
        if isinstance(options.get("eta"), datetime):
            options["eta"] -= self._clock.ahead
        jobs.publish(self._services.celery, entry, jobs.arguments(entry), options)

    def _entries(self) -> Iterator[JobEntry]:
        for name, entry in lookup.declared(self._services).items():
            if name != PRUNE and not is_celery_internal(entry.task):
                yield entry

    def _of(self, entry: JobEntry, until: datetime) -> Iterator[tuple[datetime, JobEntry]]:
        life = self._lives.get(entry.name)
        if life is None:
            life = self._lives[entry.name] = Life.of(entry, self._until)
            life.anchor = self._anchor
        life.last = self._until
        if life.is_custom:
            yield from self._of_custom(entry, life, until)
            return
        for number, at in enumerate(due.between(life.next_after, life.last, until)):
            if number == MOST:
                raise AssertionError(
                    f"the schedule's entry {entry.name!r} has more than {MOST:,} ticks until {until:%Y-%m-%d %H:%M}: "
                    "travel less far"
                )
            yield at, entry

    def _of_custom(self, entry: JobEntry, life: Life, until: datetime) -> Iterator[tuple[datetime, JobEntry]]:
        """One tick at the most: such a schedule tells only whether it is due now."""
        life.last = self._custom.get(entry.name, self._until)
        at_the_end = Clock(lambda: until)
        custom.set_clock(entry, at_the_end)  # type: ignore[arg-type]
        at, _ = custom.due(entry, life)
        if at is not None:
            self._custom[entry.name] = at
            yield at, entry


__all__ = ["Clock", "Timetable"]
