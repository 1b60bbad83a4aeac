"""How the row of an event merges into its job's row, in SQL; ``jobs.py`` explains the order of events."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, Table, and_, case, func, literal_column, null, or_

from ..domain.job import JobState
from ..store.tables import jobs
from .told import SUCCEEDED, may_tell

YES: ColumnElement[int] = literal_column("1")
NO: ColumnElement[int] = literal_column("0")


def changes(statement: Any) -> dict[str, Any]:
    """The new value of each column, for an upsert ``statement``."""
    return _changes(_Rules(statement.excluded, jobs))


def changes_by_newer(statement: Any) -> dict[str, Any]:
    """The same for an event that is newer than the row (``is_newer``), at a lower price."""
    return _changes(_Newer(statement.excluded, jobs))


def is_newer(statement: Any) -> ColumnElement[bool]:
    """Whether the event is newer than the row, and hides nothing."""
    return and_(_Rules(statement.excluded, jobs).newer, hides_nothing(statement))


def _changes(rules: _Rules) -> dict[str, Any]:
    new, old = rules.new, rules.old
    found: dict[str, Any] = {
        name: rules.latest(name)
        for name in ("task", "queue", "state", "place", "run", "updated_at", "worker", "due_at",
                     "finished_at", "result", "kind")
    }  # fmt: skip
    # not enqueued_at and block: SQLite rewrites an entry of an index if the statement names a column of it
    found |= {name: func.coalesce(old[name], new[name]) for name in ("args", "kwargs", "request_id")}
    found |= {name: rules.last_failure(name) for name in ("error", "error_message")}
    found |= {name: rules.progress(name) for name in ("progress", "progress_at")}
    found["max_retries"] = func.coalesce(new.max_retries, old.max_retries)
    found["attempts"] = rules.attempts()
    found["started_at"] = rules.started_at()
    return found


def hides_nothing(statement: Any) -> ColumnElement[bool]:
    """Whether the row tells the attempt that it told before, and the one that the event tells, if they do.

    Another attempt may have begun later or ended later, and an id may be used again: then only rows tell both.
    """
    new, old = statement.excluded, jobs.c
    newer = _Rules(new, jobs).newer
    same = and_(new.state == SUCCEEDED, old.state == SUCCEEDED, new.started_at == old.started_at)
    hides_old = and_(may_tell(old), ~same, or_(newer, new.started_at > old.started_at))
    mistakes_new = or_(~newer, new.started_at < old.started_at, new.enqueued_at != old.enqueued_at)
    hides_new = and_(may_tell(new), ~same, mistakes_new)
    return case((or_(hides_old, hides_new), NO), else_=YES) == YES


class _Rules:
    """How a column's new value follows from its old value and that of an event."""

    def __init__(self, new: Any, table: Table) -> None:
        self.new = new
        self.old = old = table.c
        self.newer = or_(
            new.place > old.place, and_(new.place == old.place, new.updated_at >= old.updated_at)
        )
        self.next_run = new.run > old.run

    def latest(self, name: str) -> ColumnElement[Any]:
        return case((self.newer, self.new[name]), else_=self.old[name])

    def last_failure(self, name: str) -> ColumnElement[Any]:
        """The last failure of this run; none after a success."""
        new, old = self.new, self.old
        forget = or_(self.next_run, new.state == SUCCEEDED)
        late = and_(new.run == old.run, old.state != SUCCEEDED)
        return case(
            (and_(self.newer, forget), new[name]),
            (self.newer, func.coalesce(new[name], old[name])),
            (late, func.coalesce(old[name], new[name])),
            else_=old[name],
        )

    def progress(self, name: str) -> ColumnElement[Any]:
        """The last reported progress; cleared when the job has to start again."""
        return case((and_(self.newer, *self._starts_again()), null()), else_=self.old[name])

    def _starts_again(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        again = or_(*(self.new.state == _constant(state) for state in (JobState.QUEUED, JobState.RETRYING)))
        return again, self.old.progress_at <= self.new.updated_at

    def attempts(self) -> ColumnElement[Any]:
        """Number of attempts that started in the latest run."""
        new, old = self.new, self.old
        more = and_(new.run == old.run, new.attempts > old.attempts)
        return case((or_(and_(self.newer, self.next_run), more), new.attempts), else_=old.attempts)

    def started_at(self) -> ColumnElement[Any]:
        """The start of the latest attempt in the latest run."""
        new, old = self.new.started_at, self.old.started_at
        later = and_(self.new.run == self.old.run, or_(old.is_(None), new > old))
        return case((or_(and_(self.newer, self.next_run), later), new), else_=old)


class _Newer(_Rules):
    """The rules for an event that is newer: SQLite would decide that again for each column."""

    def latest(self, name: str) -> ColumnElement[Any]:
        return cast("ColumnElement[Any]", self.new[name])

    def last_failure(self, name: str) -> ColumnElement[Any]:
        new, old = self.new, self.old
        forget = or_(self.next_run, new.state == SUCCEEDED)
        return case((forget, new[name]), else_=func.coalesce(new[name], old[name]))

    def progress(self, name: str) -> ColumnElement[Any]:
        again, said_before = self._starts_again()
        return case((and_(again, said_before), null()), else_=self.old[name])

    def attempts(self) -> ColumnElement[Any]:
        new, old = self.new, self.old
        return case((or_(self.next_run, new.attempts > old.attempts), new.attempts), else_=old.attempts)

    def started_at(self) -> ColumnElement[Any]:
        new, old = self.new.started_at, self.old.started_at
        later = and_(self.new.run == self.old.run, or_(old.is_(None), new > old))
        return case((or_(self.next_run, later), new), else_=old)


def _constant(state: JobState) -> ColumnElement[str]:
    return literal_column(f"'{state}'")


__all__ = ["changes", "changes_by_newer", "hides_nothing", "is_newer"]
