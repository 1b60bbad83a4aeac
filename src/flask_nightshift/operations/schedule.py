"""Run an entry of the schedule now, leave out its next run, pause and resume it.

All functions raise ``EntryNotFound`` for a name that the app's schedule does not have, before they change anything; and
``DatabaseUnavailable``. Each Beat obeys within 2 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ..errors import ConfigurationError, NothingToSkip
from ..journal.states import states
from ..schedule import jobs, lookup, ticks
from ..services import Services
from ..store import schedules
from ..store.schedules import Row
from ..store.types import key_of
from .partly import telling

HEARD_AFTER = timedelta(seconds=2)
"""The time after which each Beat has heard of an order."""
WRITTEN_AFTER = timedelta(seconds=1)
"""The time after which a Beat has written what it enqueued before it heard."""


def run_now(services: Services, name: str) -> str:
    """Enqueue the job of the entry ``name`` with its options; returns the job's id. Its due times stay.

    Raises ``BrokerUnavailable``; ``DuplicateJob`` if the entry has ``overlap="skip"`` and a job of it exists; and
    ``ConfigurationError`` if its arguments do not fit its task.
    """
    entry = lookup.named(services, name)
    try:
        result = jobs.enqueue(services.celery, entry, **({"on_duplicate": "raise"} if entry.overlap else {}))
    except TypeError as exc:  # Celery compares the arguments with the signature
        raise ConfigurationError(f"the entry {name!r}", entry.task, f"mend its arguments: {exc}") from exc
    services.journal.flush()
    return str(result.id)


def skip_next(services: Services, name: str, wait: Callable[[float], object] = time.sleep) -> datetime:
    """Leave out the next run of the entry ``name`` that is not left out yet; returns when it is due.

    If that is within 2 s, ``wait`` until it is certain that no Beat has enqueued it. If it is overdue, because no Beat
    runs, all that are overdue are left out, and the first of them is returned. Raises ``NothingToSkip`` if there is no
    next run, or if it was enqueued in the meantime.
    """
    entry = lookup.named(services, name)
    row = schedules.read(services.store).get(key_of(name))
    if row is not None and row.paused_at is not None:
        raise NothingToSkip(
            f"{name!r} is paused, so it has no next run; 'flask jobs schedule resume' lets it run"
        )
    due = lookup.next_tick(entry, row)
    if due is None:
        raise NothingToSkip(f"{name!r} has no next run: no Beat has looked at it yet, or it never runs")
    now = schedules.now(services.store)
    overdue = due + HEARD_AFTER < now
    schedules.skip(services.store, name, now if overdue else due)
    if due - now < HEARD_AFTER:
        wait((HEARD_AFTER + WRITTEN_AFTER).total_seconds())
        _refuse_if_too_late(services, name, due)
    return due


def _refuse_if_too_late(services: Services, name: str, due: datetime) -> None:
    row, job_id = schedules.read(services.store).get(key_of(name)), ticks.job_id(name, due)
    if states(services.store, [job_id]) or (row is not None and row.last_run_at == due):
        raise NothingToSkip(f"too late: the run of {name!r} due at {due:%H:%M:%S} UTC is the job {job_id}")


def pause(services: Services, names: Sequence[str], *, by: str) -> dict[str, datetime]:
    """Enqueue no job of these entries until they are resumed; returns since when each is paused."""
    for name in names:
        lookup.named(services, name)
    at, paused = schedules.now(services.store), dict[str, datetime]()
    with telling(paused, "entry", "paused"):
        for name in names:
            paused[name] = _paused_since(services, name, by, at)
    return paused


def _paused_since(services: Services, name: str, by: str, at: datetime) -> datetime:
    schedules.ensure(services.store, name, at)
    row = schedules.pause(services.store, name, by, at)
    return row.paused_at if row is not None and row.paused_at is not None else at


def resume(services: Services, names: Sequence[str]) -> dict[str, bool]:
    """Take back ``pause`` and ``skip_next``; returns for each entry whether there was something to take back.

    Ticks that fell into a pause are not caught up.
    """
    for name in names:
        lookup.named(services, name)
    rows, at = schedules.read(services.store), schedules.now(services.store)
    resumed: dict[str, bool] = {}
    with telling(resumed, "entry", "resumed"):
        for name in names:
            resumed[name] = _resumed(services, rows.get(key_of(name)), at)
    return resumed


def _resumed(services: Services, row: Row | None, at: datetime) -> bool:
    if row is None:
        return False
    skips = row.skip_until is not None and (row.last_due_at is None or row.last_due_at < row.skip_until)
    if skips:
        schedules.skip(services.store, row.name, None)
    if row.paused_at is not None:
        schedules.resume(services.store, row.name, at)
    return skips or row.paused_at is not None


__all__ = ["pause", "resume", "run_now", "skip_next"]
