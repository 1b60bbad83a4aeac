"""After a purge: the history says of the deleted jobs that they are cancelled.

A purge marks what it can in ``SECONDS``, in small transactions. The hourly retention marks the rest, and what was
written late: a purge is noted for ``NOTED``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import monotonic

from ..domain.job import JobState, utcnow
from ..domain.recording import OFF
from ..errors import DatabaseUnavailable
from ..journal import Pace, mark_purged
from ..observe import jobs as listed
from ..observe.jobs import Filters
from ..services import Services
from ..store import heartbeats, purges
from ..store.purges import Purge
from ..text import patterns

SECONDS = 5.0
"""Seconds for which a purge marks jobs itself."""
NOTED = timedelta(hours=6)
"""How long the history may hear late of a job that was enqueued before a purge."""
HELD = timedelta(minutes=10)
"""How long the oldest jobs stay as they are, as many as workers hold; afterwards they have begun, or were deleted."""
PAGE = 1000

logger = logging.getLogger("flask_nightshift.operations")


def after_purge(services: Services, queue: str, at: datetime) -> int:
    """Note that ``queue`` was purged ``at`` that moment, and mark its jobs for ``SECONDS``; returns how many."""
    if services.settings.history == OFF:
        return 0
    purge = Purge(queue, at)
    try:
        purges.note(services.store, queue, at)
        return _mark(services, purge, monotonic() + SECONDS)
    except DatabaseUnavailable as exc:  # the purge is done, and the history never stops it
        logger.warning("purge.not_recorded", extra={"queue": queue, "why": str(exc)})
        return 0


def mark_rest(services: Services) -> int:
    """Mark the jobs of all purges that are noted; returns how many. Raises ``DatabaseUnavailable``."""
    count = 0
    for purge in purges.noted(services.store):
        count += _mark(services, purge, None)
        if utcnow() - purge.at > NOTED:
            purges.forget(services.store, purge)
    return count


def _mark(services: Services, purge: Purge, until: float | None) -> int:
    delayed, now, count = services.broker.capabilities.lists_delayed, utcnow(), 0
    # where a transaction locks its rows alone, a small one only costs time
    pace = Pace(PAGE) if services.store.engine.dialect.name == "postgresql" else Pace()
    held = _held(services, purge.queue) if now - purge.at < HELD else 0
    for ids in _pages(services, purge, held):
        waiting = list(ids)
        while waiting:
            if until is not None and monotonic() >= until:
                return count
            with pace.begin(services.store) as connection:
                some, waiting = waiting[: pace.rows], waiting[pace.rows :]
                count += mark_purged(connection, some, purge.queue, purge.at, now, delayed=delayed)
    return count


def _pages(services: Services, purge: Purge, held: int) -> Iterator[Sequence[str]]:
    """The jobs that may have been deleted, a page at a time, without the ``held`` oldest of each state."""
    for state in (JobState.QUEUED, JobState.RETRYING):
        last, after = purge.at + timedelta(microseconds=1), None
        wanted = Filters(state=state, queue=patterns.exactly(purge.queue), until=last)
        kept: list[str] = []
        while True:
            page = listed.page(services.store, wanted, limit=PAGE, after=after)
            kept += [job.id for job in page.jobs]
            some, kept = kept[: max(0, len(kept) - held)], kept[max(0, len(kept) - held) :]
            if some:
                yield some
            after = page.after
            if after is None:
                break


def _held(services: Services, queue: str) -> int:
    """How many jobs of ``queue`` healthy workers hold: the oldest, because they took them first."""
    rows = [row for row in heartbeats.workers(services.store, utcnow()) if row.healthy]
    return sum((row.in_hand or {}).get(queue, 0) for row in rows)


__all__ = ["after_purge", "mark_rest"]
