"""Which jobs a list shows: conditions for the kind of a job, in SQL and for a row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping

from ..domain.job import JobState
from ..store.matching import fits, fits_one
from ..store.types import key_of
from ..text import patterns

NAMED = ("task", "queue", "worker")
"""The conditions that are patterns: ``*`` stands for any text."""
_ENDS = ("", "Error", "Exception")


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that a job meets, all of them.

    ``task``, ``queue`` and ``worker`` are patterns (``text/patterns.py``): ``mail.*`` is every task whose name begins
    so, and ``patterns.exactly(name)`` is that name alone, also if it has a star. ``error`` is a pattern of the type of
    the error with which a job died or waits for a retry, with or without its module, in upper or lower case; ``Error``
    or ``Exception`` at its end may be left out. ``tag`` is one of the job's tags. ``since`` (inclusive) and ``until``
    (exclusive) compare with the time at which the job was enqueued. ``search`` is a text in its id, its arguments, its
    error or its request id, in upper or lower case; or several texts, and the job has each of them.
    """

    state: JobState | str | None = None
    task: str | None = None
    queue: str | None = None
    worker: str | None = None
    error: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: str | tuple[str, ...] | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to search for."""
        return (self.search,) if isinstance(self.search, str) else self.search or ()

    def conditions(self, columns: Any) -> list[ColumnElement[bool]]:
        """The conditions for the kind of a job, for the columns of the table of kinds, or of that of jobs."""
        found = [] if self.state is None else [columns.state == self.state]
        found += [fits(columns[name], value) for name in NAMED if (value := getattr(self, name)) is not None]
        if self.error is not None:
            found.append(fits_one(columns.error, types_of(self.error)))
        return found

    def admits(self, job: RowMapping) -> bool:
        """Whether the row of a job meets the conditions for its kind; its kind may be out of date."""
        if self.state is not None and job["state"] != str(self.state):
            return False
        for name in NAMED:
            wanted = getattr(self, name)
            if wanted is not None and not _fits(job[name], wanted):
                return False
        if self.error is None:
            return True
        error = (job["error"] or "").lower()
        return any(patterns.fits(error, each.lower()) for each in types_of(self.error))


def types_of(error: str) -> tuple[str, ...]:
    """The patterns of the types that the condition ``error`` means; one with wildcards means what it says."""
    ends = _ENDS if patterns.is_literal(error) else _ENDS[:1]
    return tuple(f"{module}{error}{end}" for end in ends for module in ("", "*."))


def _fits(name: str | None, pattern: str) -> bool:
    if patterns.is_literal(pattern):
        return name == key_of(patterns.literal(pattern))
    return name is not None and patterns.fits(name, pattern)


__all__ = ["NAMED", "Filters", "types_of"]
