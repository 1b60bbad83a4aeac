"""Find entries by their names, and the ticks of an entry by what Beats have stored of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime, timedelta

from ..errors import EntryNotFound
from ..services import Services
from ..store.schedules import Row
from . import due, entries
from .entry import JobEntry
from .life import EPOCH
from .timing import fingerprint, timing_of

MOST_SHOWN = 5
"""Names that an error lists if none is near."""
FURTHEST = timedelta(days=400)
"""How far back ticks are looked for."""


def declared(services: Services) -> dict[str, JobEntry]:
    """The app's entries by name; raises ``ConfigurationError``."""
    found = sorted(entries.entries(services).items())
    return {name: JobEntry(**dict(entry, name=name, app=services.celery)) for name, entry in found}


def named(services: Services, name: str) -> JobEntry:
    """The entry ``name``; raises ``EntryNotFound`` or ``ConfigurationError``."""
    found = declared(services)
    if name not in found:
        raise EntryNotFound(_unknown(name, found))
    return found[name]


def next_tick(entry: JobEntry, row: Row | None) -> datetime | None:
    """The due time of the next tick that runs.

    None if no Beat has dealt with this schedule yet, if only the schedule's own class knows it, and if it never runs.
    """
    when, zone = entry.schedule, entry.timezone
    if row is None or row.last_due_at is None or row.fingerprint != fingerprint(when, zone):
        return None
    after = row.last_due_at if row.skip_until is None else max(row.last_due_at, row.skip_until)
    return timing_of(when, zone).next_after(after, row.anchor or EPOCH)


def next_ticks(entry: JobEntry, row: Row | None, most: int) -> list[datetime]:
    """The due times of the next ``most`` ticks that run; empty where ``next_tick`` is None."""
    found: list[datetime] = []
    due = next_tick(entry, row)
    timing, anchor = timing_of(entry.schedule, entry.timezone), (row.anchor if row else None) or EPOCH
    while due is not None and len(found) < most:
        found.append(due)
        due = timing.next_after(due, anchor)
    return found


def last_ticks(entry: JobEntry, row: Row | None, most: int) -> list[datetime]:
    """The last ``most`` due times until the entry's last run, by its present schedule; empty for a custom schedule."""
    if row is None or row.last_run_at is None:
        return []
    timing, anchor, until = timing_of(entry.schedule, entry.timezone), row.anchor or EPOCH, row.last_run_at
    return list(due.most_recent(lambda at: timing.next_after(at, anchor), until - FURTHEST, until, most))


def _unknown(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"the schedule has no entry {name!r}; did you mean {near[0]!r}?"
    shown = ", ".join(map(repr, names[:MOST_SHOWN])) + (", …" if len(names) > MOST_SHOWN else "")
    return f"the schedule has no entry {name!r}; it has {shown}"


__all__ = ["declared", "last_ticks", "named", "next_tick", "next_ticks"]
