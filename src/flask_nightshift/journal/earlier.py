"""Jobs that have rows although nothing went wrong: they were enqueued while ``NIGHTSHIFT_HISTORY`` was ``all``.

With ``failures`` their first attempts are followed to the end, too, or their rows would stay queued. As soon as none is
left, the journal asks only once a minute, because a process that still runs with ``all`` may add some.

Such a process may write that it enqueued a job after the job has ended. So for a while after the start, when a new
setting is rolled out, the journal asks more often, and remembers the latest ends of jobs without rows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from sqlalchemy import select

from ..domain.job import JobState
from ..domain.recording import FAILURES
from ..store import Store
from ..store.tables import jobs
from .following import Record

ASK_EVERY = 60.0
"""Seconds between two questions whether there is such a job."""
ASK_OFTEN = 5.0
"""The same in the first ``WATCH`` seconds of a journal."""
WATCH = 600.0
REMEMBERED = 2_000
"""Records of jobs without rows that are looked at again in that time."""
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
        self._watched_until = time.monotonic() + WATCH
        self._remembered: deque[Record] = deque(maxlen=REMEMBERED)

    @property
    def expected(self) -> bool:
        """Whether there may be such a job, now or soon."""
        return not self._never and (self._watches or self._asks)

    @property
    def _watches(self) -> bool:
        return time.monotonic() < self._watched_until

    @property
    def _asks(self) -> bool:
        every = ASK_OFTEN if self._watches else ASK_EVERY
        return self._none_at is None or time.monotonic() - self._none_at >= every

    def of(self, records: Sequence[Record]) -> list[Record]:
        """Those of ``records``, and of earlier ones, whose jobs have open rows; raises ``DatabaseUnavailable``."""
        asks, watches = self._asks, self._watches
        found = self._with_rows([*self._remembered, *records]) if asks else []
        if watches:
            known = {record.event.job.job_id for record in found}
            self._remembered.extend(each for each in records if each.event.job.job_id not in known)
        else:
            self._remembered.clear()
        return found

    def _with_rows(self, records: Sequence[Record]) -> list[Record]:
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
