"""Follows each attempt from its start to its end, within a batch of events and beyond it.

A success finds its start in the same batch, or in what ``Open`` keeps of earlier ones. Most attempts start and end
within one batch: then one record tells both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from ..domain.events import JobEvent, JobStarted, JobSucceeded
from .told import is_told_by_job

MAX_OPEN = 50_000
"""Maximum number of open attempts that one process remembers; a worker runs far fewer at once."""


class Start(NamedTuple):
    """The start of an attempt, and the seconds that it had waited in its queue."""

    at: datetime
    wait: float | None


class Record(NamedTuple):
    """An event, the start of its attempt if it is known, and whether the job's row alone tells the attempt."""

    event: JobEvent
    start: Start | None = None
    told: bool = False


class Open:
    """The attempts that started in this process and have not ended."""

    def __init__(self) -> None:
        self._starts: OrderedDict[tuple[str, int, int], Start] = OrderedDict()

    def follow(self, events: Iterable[JobEvent]) -> list[Record]:
        """The records of ``events``; those of one job stay in their order."""
        records: list[Record] = []
        begun: dict[str, JobStarted] = {}
        for event in events:
            job = event.job
            started = begun.pop(job.job_id, None) if begun else None
            if started is not None:
                if (
                    type(event) is JobSucceeded
                    and _same_attempt(event, started)
                    and started.relations is None
                ):
                    told = is_told_by_job(started, event)
                    records.append(Record(event, Start(started.at, started.wait), told))
                    continue
                records.append(Record(started, self._begin(started)))
            if type(event) is JobStarted:
                begun[job.job_id] = event
            else:
                records.append(Record(event, self._start_of(event)))
        records.extend(Record(started, self._begin(started)) for started in begun.values())
        return records

    def _begin(self, event: JobStarted) -> Start:
        start = self._starts[_attempt(event)] = Start(event.at, event.wait)
        if len(self._starts) > MAX_OPEN:
            self._starts.popitem(last=False)
        return start

    def _start_of(self, event: JobEvent) -> Start | None:
        """The start of the attempt that ``event`` ends, if it is known or can be derived."""
        known = self._starts.pop(_attempt(event), None) if self._starts else None
        runtime = getattr(event, "runtime", None)
        if known is None and runtime is not None:
            return Start(event.at - timedelta(seconds=runtime), None)
        return known


def _attempt(event: JobEvent) -> tuple[str, int, int]:
    return event.job.job_id, event.job.run, event.job.attempt


def _same_attempt(one: JobEvent, other: JobEvent) -> bool:
    return one.job.attempt == other.job.attempt and one.job.run == other.job.run


__all__ = ["MAX_OPEN", "Open", "Record", "Start"]
