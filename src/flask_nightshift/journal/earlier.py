"""Jobs that have rows although nothing went wrong: they were enqueued while ``NIGHTSHIFT_HISTORY`` was ``all``.

With ``failures`` their first attempts are followed to the end, too, or their rows would stay queued. As soon as none is
left, the journal asks only once a minute, because a process that still runs with ``all`` may add some.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import select

from ..domain.job import JobState
from ..domain.recording import FAILURES
from ..store import Store
from ..store.tables import jobs
from .following import Record

ASK_EVERY = 60.0
"""Seconds between two questions whether there is such a job."""
READ_SECONDS = 5.0
_OPEN = (
    jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
    jobs.c.run == 0,
    jobs.c.attempts <= 1,
)


class EarlierJobs:
    """Finds, among records that get no rows, those of jobs that have rows already."""

    def __init__(self, store: Store, history: str) -> None:
        self._store = store
        self._never = history != FAILURES
        self._none_at: float | None = None

    @property
    def expected(self) -> bool:
        """Whether there may be such a job."""
        if self._never:
            return False
        return self._none_at is None or time.monotonic() - self._none_at >= ASK_EVERY

    def of(self, records: Sequence[Record]) -> list[Record]:
        """Those of ``records`` whose jobs have open rows; raises ``DatabaseUnavailable``."""
        if not records:
            return []
        ids = {record.event.job.job_id for record in records}
        with self._store.read(timeout=READ_SECONDS) as connection:
            if connection.execute(select(jobs.c.id).where(*_OPEN).limit(1)).first() is None:
                self._none_at = time.monotonic()
                return []
            self._none_at = None
            found = set(connection.execute(select(jobs.c.id).where(jobs.c.id.in_(ids), *_OPEN)).scalars())
        return [record for record in records if record.event.job.job_id in found]


__all__ = ["EarlierJobs"]
