"""Write what connects jobs: the relations of each, and the jobs that it announces."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, func
from sqlalchemy.engine import Dialect

from ..domain.events import JobEnqueued, JobStarted
from ..domain.relations import Relations
from ..store.tables import relations
from ..store.upsert import DIALECTS, Upsert
from .following import Record


class Row(NamedTuple):
    """A row of the table, with its columns in their order."""

    job_id: str
    task: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    chord_id: str | None = None
    chord_size: int | None = None
    at: datetime | None = None
    origin_id: str | None = None

    def over(self, other: Row) -> Row:
        """The row, with the values of ``other`` where it has none."""
        values: Any = (old if new is None else new for new, old in zip(self, other, strict=True))
        return Row(*values)


def write(connection: Connection, records: Iterable[Record]) -> None:
    """Write the relations that the events of ``records`` tell; nearly always there are none."""
    merged: dict[str, Row] = {}
    for record in records:
        event = record.event
        if type(event) is JobEnqueued or type(event) is JobStarted:
            told = event.relations
            if told is not None:
                for row in _rows(told, event):
                    known = merged.get(row.job_id)
                    merged[row.job_id] = row if known is None else row.over(known)
    if merged:
        _merge(connection.dialect).run(connection, [merged[job_id] for job_id in sorted(merged)])


def _rows(told: Relations, event: JobEnqueued | JobStarted) -> Iterable[Row]:
    job, at = event.job, event.at
    for each in told.announced:
        yield Row(each.job_id, each.task, each.after, told.root, None, None, each.size, at)
    connected = told.parent or told.group or told.chord or told.origin
    if connected or told.root not in (None, job.job_id):
        links = (told.parent, told.root, told.group, told.chord)
        yield Row(job.job_id, job.task, *links, None, at, told.origin)


@lru_cache(maxsize=DIALECTS)
def _merge(dialect: Dialect) -> Upsert:
    return Upsert(relations, dialect, _changes)


def _changes(statement: Any) -> dict[str, Any]:
    """What a job's own message says wins over what was announced."""
    new, old = statement.excluded, relations.c
    names = [column.name for column in relations.columns if not column.primary_key]
    return {name: func.coalesce(new[name], old[name]) for name in names}


__all__ = ["Row", "write"]
