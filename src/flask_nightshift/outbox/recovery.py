"""Publishes durable jobs again whose messages were lost with the broker's data, each as a new run.

Only an operator knows that the broker has lost its data. A job that a live worker runs is left alone, and so is a row
that another version wrote. A job that a worker has begun before is looked at twice, because its end may not be recorded
yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ..domain.job import utcnow
from ..errors import BrokerUnavailable
from ..message.stored import FORMAT
from ..store import Store, ledger
from ..store.heartbeats import FRESH, WorkerRow
from ..store.ledger import Open
from . import claims
from .relay import Relay
from .rows import FIRST, PUBLISHED, Row

CHUNK = 500
"""Rows in one transaction."""
SECOND_LOOK = 3.0
"""Seconds until the second look at jobs that have begun: a journal needs less."""
SKEW = timedelta(seconds=2)
"""The difference between the clocks of two machines that is tolerated."""

logger = logging.getLogger("flask_nightshift.outbox")


class Recovered(NamedTuple):
    """``jobs``: published again, or to be. ``held``: left to live workers. ``waiting``: left to the relays, because
    their queue refused them.
    """

    jobs: int
    held: int
    waiting: int = 0

    def as_dict(self) -> dict[str, int]:
        """Plain JSON types."""
        return {"jobs": self.jobs, "held": self.held, "waiting": self.waiting}


class Look(NamedTuple):
    """The ``lost`` jobs, whose messages no live worker holds, and the rows of those that one holds."""

    lost: list[Open]
    held: set[str]


def look(
    store: Store,
    workers: Callable[[], Sequence[WorkerRow]],
    wait: Callable[[float], object],
    among: Container[str] | None = None,
) -> Look:
    """Look at the durable jobs that have not ended; only at those whose rows are ``among`` some, if that is given."""
    if among is None and (count := claims.of_other_formats(store, PUBLISHED)):
        logger.warning("outbox.unknown_format", extra={"rows": count, "why": claims.OTHER_VERSION})
    before = _published(store, among)
    found = _free(before, workers(), utcnow())
    if not any(job.worker for job in found.lost):
        return found
    wait(SECOND_LOOK)
    same = set(found.lost)
    jobs = [job for job in _published(store, among) if job in same or job.worker]
    return _free(jobs, workers(), utcnow(), same)


def _published(store: Store, among: Container[str] | None) -> list[Open]:
    return [job for job in ledger.published(store, FORMAT) if among is None or job.row in among]


def _free(
    jobs: Sequence[Open], workers: Sequence[WorkerRow], now: datetime, among: set[Open] | None = None
) -> Look:
    """Those of ``jobs`` (and of ``among``) that no live worker holds; and those that one holds."""
    alive = {row.name: row for row in workers if abs(now - row.seen_at) <= FRESH}
    busy = {str(job.get("job_id")) for row in alive.values() for job in row.busy}
    held = {job for job in jobs if job.job_id in busy or _just_begun(job, alive.get(job.worker or ""))}
    free = [job for job in jobs if job not in held and (among is None or job in among)]
    return Look(free, {job.row for job in held})


def _just_begun(job: Open, worker: WorkerRow | None) -> bool:
    """Whether the job has begun in a live worker that has not reported since."""
    return worker is not None and job.begun_at is not None and job.begun_at > worker.seen_at - SKEW


def publish(relay: Relay, jobs: Sequence[Open]) -> Iterator[tuple[int, int]]:
    """Publish ``jobs`` as new runs; yields for each batch how many were published, and how many their queue refused.

    Raises ``BrokerUnavailable`` if the broker goes away; the jobs of that batch wait for a relay.
    """
    for at in range(0, len(jobs), CHUNK):
        rows = ledger.reopen(relay.store, jobs[at : at + CHUNK], relay.name, utcnow(), FIRST)
        try:
            done = relay.publish([Row(*row) for row in rows])
        except BrokerUnavailable as exc:
            exc.add_note(f"The last {len(rows)} jobs wait in the outbox, and a relay publishes them.")
            raise
        yield done, len(rows) - done


__all__ = ["Look", "Recovered", "look", "publish"]
