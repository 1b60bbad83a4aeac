"""The progress of running jobs: each attempt keeps its last report, and the journal writes it with its next batch.

A report that finds an earlier one unwritten replaces it, so a loop may report a million times: one process writes at
most twice a second, and the last report is always written. A report is dropped if its attempt was retried or returned
meanwhile, because the next one begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, or_

from ..domain.job import JobRef, JobState, utcnow
from ..store.tables import jobs
from ..store.types import shortened
from ..store.upsert import insert
from .jobs import stub

MAX_NOTE = 4_096
"""Maximum bytes of the text with which a job reports its progress."""


class Said(NamedTuple):
    """What the attempt ``job`` reported last, at ``at``."""

    job: JobRef
    at: datetime
    done: float
    total: float | None
    note: str


class Progress:
    """The reports of one attempt. ``tell`` is called with it when it has a report that nobody takes yet."""

    __slots__ = ("_job", "_last", "_tell", "_waits", "ended_at")

    def __init__(self, job: JobRef, tell: Callable[[Progress], object]) -> None:
        self._job = job
        self._tell = tell
        self._waits = False
        self._last: tuple[float, float | None, str] = (0, None, "")
        self.ended_at: datetime | None = None
        """When the attempt ended; None while it runs."""

    def say(self, done: float, total: float | None, note: str) -> None:
        """Report; a call that replaces an unwritten report costs no more than this."""
        self._last = done, total, note
        if not self._waits:
            self._waits = True
            self._tell(self)

    def take(self) -> Said:
        """The last report; the next one is told again."""
        self._waits = (
            False  # before the report is read: one that comes in between is written twice, not never
        )
        return Said(self._job, self.ended_at or utcnow(), *self._last)


def write(connection: Connection, reports: Sequence[Said]) -> None:
    """Write ``reports``, except those of attempts that were retried or returned since, as far as the history knows.

    If the journal has not yet written the start of the job, this creates a row for the journal to fill.
    """
    if not reports:
        return
    statement: Any = insert(connection.dialect.name, jobs)
    new, old = statement.excluded, jobs.c
    running: Any = bindparam("running")
    ended: Any = bindparam("ended")
    statement = statement.on_conflict_do_update(
        index_elements=["id"],
        set_={name: new[name] for name in ("progress", "progress_at")},
        where=or_(
            old.place < running,
            old.place == ended,
            and_(
                old.place == running,
                or_(old.state == JobState.RUNNING, old.updated_at <= new.progress_at),
            ),
        ),
    )
    in_order = sorted(reports, key=lambda said: said.job.job_id)
    connection.execute(statement, [_values(said) for said in in_order])


def _values(said: Said) -> dict[str, Any]:
    row, places = stub(said.job, said.at)
    told = {"done": said.done, "total": said.total, "message": shortened(said.note, MAX_NOTE)}
    return {**row, "progress": told, "progress_at": said.at, **places}


__all__ = ["MAX_NOTE", "Progress", "Said", "write"]
