"""The schedule as operators see it: each entry in words, its next run, its last runs and what became of their jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from ..journal.states import State, states
from ..schedule import lookup, ticks, words
from ..schedule.entries import PRUNE
from ..schedule.entry import JobEntry
from ..services import Services
from ..store import schedules
from ..store.schedules import Row
from ..store.types import key_of

RUNS = 10
"""The last runs of one entry that are shown."""
UPCOMING = 5
"""The next runs of one entry that are shown."""
COMPUTED = "<computed at each tick>"


@dataclass(frozen=True, slots=True)
class Run:
    """A tick whose job was enqueued.

    ``state`` is None while the history does not know the job. ``error`` and ``message``: its last failure until it
    succeeds.
    """

    due_at: datetime
    job_id: str
    state: str | None
    error: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class ScheduledEntry:
    """An entry of the schedule.

    ``words`` and ``cron`` tell when it runs; ``cron`` is None if that is no crontab. ``args`` and ``kwargs`` are texts
    for people, without what ``NIGHTSHIFT_REDACT`` hides. ``next_at`` is the due time of the next tick that runs: None
    while the entry is paused, before any Beat has seen it, if only its schedule's class knows it, and if it never runs.
    ``skips_until``: the ticks due until then are left out. ``count``: the runs so far. ``runs``: the last ones, latest
    first. ``upcoming``: the due times of the next ticks that run, for one entry.
    """

    name: str
    task: str
    words: str
    cron: str | None
    timezone: str | None
    queue: str | None
    args: str
    kwargs: str
    options: Mapping[str, Any]
    catch_up: str
    overlap: str | None
    jitter: float
    next_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    skips_until: datetime | None
    count: int
    runs: tuple[Run, ...]
    upcoming: tuple[datetime, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is Nightshift's own, and not the app's."""
        return self.name == PRUNE

    @property
    def last(self) -> Run | None:
        """The last tick whose job was enqueued."""
        return self.runs[0] if self.runs else None

    def as_dict(self) -> dict[str, Any]:
        """The entry in plain JSON types, but for its options; without ``upcoming``."""
        runs = [{**asdict(run), "due_at": run.due_at.isoformat()} for run in self.runs]
        times = {name: _text(getattr(self, name)) for name in ("next_at", "paused_at", "skips_until")}
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "upcoming"}
        return {**values, **times, "options": dict(self.options), "runs": runs}


def seen(services: Services) -> list[ScheduledEntry]:
    """All entries by name, each with its last run at most; raises ``ConfigurationError`` or ``DatabaseUnavailable``."""
    rows = schedules.read(services.store)
    found = states(services.store, [row.last_job_id for row in rows.values() if row.last_job_id])
    return [
        _entry(services, entry, row := rows.get(key_of(name)), _runs(_last(row), found))
        for name, entry in lookup.declared(services).items()
    ]


def one(services: Services, name: str) -> ScheduledEntry:
    """The entry ``name`` with its last runs that the history knows.

    Raises ``EntryNotFound``, ``ConfigurationError`` or ``DatabaseUnavailable``.
    """
    entry = lookup.named(services, name)
    row = schedules.read(services.store).get(key_of(name))
    possible = {ticks.job_id(name, at): at for at in lookup.last_ticks(entry, row, RUNS)}
    found = states(services.store, possible | _last(row))
    known = {job_id: at for job_id, at in possible.items() if job_id in found}
    made = _entry(services, entry, row, _runs(known | _last(row), found))
    return replace(made, upcoming=tuple(lookup.next_ticks(entry, row, UPCOMING))) if made.next_at else made


def _entry(services: Services, entry: JobEntry, row: Row | None, runs: tuple[Run, ...]) -> ScheduledEntry:
    row = row or Row(name=entry.name)
    args, kwargs = services.texts(entry.task).shown(entry.args or (), entry.kwargs or {})
    options = dict(services.redaction.value(entry.options))
    queue = options.pop("queue", None)
    return ScheduledEntry(
        name=entry.name,
        task=entry.task,
        words=words.in_words(entry.schedule, entry.timezone),
        cron=words.as_cron(entry.schedule),
        timezone=words.zone_of(entry.schedule, entry.timezone),
        queue=None if queue is None else str(getattr(queue, "name", queue)),
        args=_shown(args),
        kwargs=_shown(kwargs),
        options=options,
        catch_up=entry.catch_up,
        overlap=entry.overlap,
        jitter=entry.jitter,
        next_at=lookup.next_tick(entry, row) if row.paused_at is None else None,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        skips_until=row.skip_until,
        count=row.total_run_count,
        runs=runs,
    )


def _last(row: Row | None) -> dict[str, datetime]:
    if row is None or row.last_job_id is None or row.last_run_at is None:
        return {}
    return {row.last_job_id: row.last_run_at}


def _runs(ids: Mapping[str, datetime], found: Mapping[str, State]) -> tuple[Run, ...]:
    unknown = (None, None, None)
    made = (Run(at, job_id, *found.get(job_id, unknown)) for job_id, at in ids.items())
    return tuple(sorted(made, key=lambda run: run.due_at, reverse=True)[:RUNS])


def _shown(arguments: Any) -> str:
    """Arguments as JSON; a value that Beat computes at each tick as a note."""
    return json.dumps(
        arguments, ensure_ascii=False, default=lambda value: COMPUTED if callable(value) else str(value)
    )


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


__all__ = ["Run", "ScheduledEntry", "one", "seen"]
