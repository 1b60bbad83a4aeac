"""Which events the history records, by ``NIGHTSHIFT_HISTORY``; totals count all of them.

With ``failures`` a job gets its rows when something first goes wrong: it is retried, dies, or is replayed. From then on
all its events are recorded, so its row ends in the right state. Rows of ``all`` end, too (``earlier.py``).
"""

from __future__ import annotations

from collections.abc import Callable

from ..domain.events import KINDS, JobEnqueued, JobReturned, JobSkipped, JobStarted, JobSucceeded
from ..domain.job import JobRef
from ..domain.recording import ALL, FAILURES, OFF
from .following import Record

_NOTES = {
    FAILURES: "NIGHTSHIFT_HISTORY is 'failures': only jobs that were retried, died or were replayed are recorded",
    OFF: "NIGHTSHIFT_HISTORY is 'off': no jobs are recorded",
}
_ORDINARY = frozenset({JobEnqueued, JobStarted, JobSucceeded, JobReturned, JobSkipped})
"""Events that say nothing of a failure, if they are of a job's first attempt."""


def note(history: str) -> str:
    """What to tell people who look for jobs; empty if all are recorded."""
    return _NOTES.get(history, "")


def chooser(history: str) -> Callable[[Record], bool]:
    """Whether a record gets rows, as a function."""
    return {ALL: _every, FAILURES: _of_failures, OFF: _none}[history]


def kinds(history: str) -> tuple[type, ...]:
    """The kinds of events that the journal has to hear; a first attempt tells only when it begins and how it ends."""
    return KINDS if history == ALL else tuple(kind for kind in KINDS if kind is not JobEnqueued)


def has_row(history: str, job: JobRef) -> bool:
    """Whether a running attempt has a row, to tell its progress."""
    return history == ALL or (history == FAILURES and (job.attempt > 1 or job.run > 0))


def _every(record: Record) -> bool:
    return type(record.event) is not JobSkipped or record.event.recorded


def _of_failures(record: Record) -> bool:
    job = record.event.job
    if job.attempt == 1 and job.run == 0 and type(record.event) in _ORDINARY:
        return False
    return _every(record)


def _none(record: Record) -> bool:  # noqa: ARG001
    return False


__all__ = ["chooser", "has_row", "kinds", "note"]
