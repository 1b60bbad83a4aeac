"""Dead letters in the table: find, filter, list, count.

Only this module converts a letter to and from a row (``row``, ``archived``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Row, Select, case, func, literal, or_, select, union_all

from ..domain.job import DeadLetter, Failure, Reason, utcnow
from ..errors import DeadLetterNotFound
from ..message.arguments import Texts
from ..message.burial import cause_of
from ..message.headers import attempts, origin
from ..store import Store
from ..store.tables import dead_letters as table
from ..store.types import MAX_TEXT, to_json

_SHORT_BODY = case((func.length(table.c.body) <= MAX_TEXT, table.c.body), else_=literal(b"")).label("body")


class Status(enum.StrEnum):
    """The state of a dead letter."""

    WAITING = "waiting"
    """It waits for someone's decision."""
    REPLAYING = "replaying"
    """Someone has claimed it and is publishing it; it waits again if that fails."""
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    """It will not run again; it stays in the table until it is pruned."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions that a dead letter meets, all of them. ``status=None`` means any.

    ``since`` compares with the time of death. ``ids`` are ids of dead letters, not of jobs.
    """

    task: str | None = None
    reason: Reason | str | None = None
    since: datetime | None = None
    fingerprint: str | None = None
    status: Status | str | None = Status.WAITING
    ids: tuple[str, ...] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions for a query."""
        wanted: list[tuple[Any, Any]] = [
            (table.c.task, self.task),
            (table.c.reason, self.reason),
            (table.c.fingerprint, self.fingerprint),
            (table.c.status, self.status),
        ]
        found = [column == value for column, value in wanted if value is not None]
        if self.since is not None:
            found.append(table.c.at >= self.since)
        if self.ids is not None:
            found.append(table.c.id.in_(self.ids))
        return found


@dataclass(frozen=True, slots=True)
class ArchivedLetter:
    """A dead letter in the table.

    ``fingerprint`` groups letters with one cause, ``place`` is where the error was raised (empty if that is unknown);
    ``attempts`` are the ended attempts that travelled with the message (``job.Attempt`` as dicts, the last ten, oldest
    first). ``claimed_by`` names the replay that is
    publishing it: ``host:process id:number``.
    """

    letter: DeadLetter
    fingerprint: str
    status: Status
    status_at: datetime
    archived_at: datetime
    attempts: list[dict[str, Any]] = field(default_factory=list)
    claimed_by: str | None = None
    place: str = ""
    new_args: str | None = None
    new_kwargs: str | None = None

    @property
    def origin(self) -> str | None:
        """The id of the job of which this one is a copy; None if it is none."""
        return origin(self.letter.headers)

    def arguments(self, texts: Texts) -> tuple[str, str]:
        """The job's positional and keyword arguments, as text for people; ``texts`` are those of its task."""
        return texts.of(self.letter.headers, self.letter.body)

    def as_dict(self, texts: Texts) -> dict[str, Any]:
        """Everything except the raw message, in plain JSON types; ``texts`` are those of the job's task."""
        letter, failure = self.letter, self.letter.failure
        args, kwargs = self.arguments(texts)
        return {
            "id": letter.id,
            "job_id": letter.job_id,
            "task": letter.task,
            "queue": letter.queue,
            "reason": str(letter.reason),
            "error": failure.error if failure else None,
            "message": failure.message if failure else None,
            "traceback": failure.traceback if failure else None,
            "fingerprint": self.fingerprint,
            "place": self.place,
            "at": letter.at.isoformat(),
            "worker": letter.worker,
            "status": str(self.status),
            "status_at": self.status_at.isoformat(),
            "args": args,
            "kwargs": kwargs,
            "new_args": self.new_args,
            "new_kwargs": self.new_kwargs,
            "origin": self.origin,
            "attempts": self.attempts,
        }


def find(store: Store, letter_id: str) -> ArchivedLetter:
    """The dead letter with that id; raises ``DeadLetterNotFound`` or ``DatabaseUnavailable``."""
    with store.read() as connection:
        row = connection.execute(select(table).where(table.c.id == letter_id)).one_or_none()
    if row is None:
        raise DeadLetterNotFound(f"there is no dead letter {letter_id!r}; 'flask jobs dead list' shows them")
    return archived(row)


def list_letters(
    store: Store,
    filters: Filters | None = None,
    limit: int | None = 50,
    after: tuple[datetime, str] | None = None,
) -> list[ArchivedLetter]:
    """Up to ``limit`` dead letters that meet ``filters`` (default: those that wait), latest death first.

    ``after``: those that follow the letter with that time of death and that id.

    A body of more than ``MAX_TEXT`` bytes is left empty, and ``arguments()`` gives Celery's short form; ``find`` reads
    the whole body.
    """
    asked = filters or Filters()
    query: Select[Any] = select(*[column for column in table.c if column is not table.c.body], _SHORT_BODY)
    if asked.status is None and (asked.task, asked.reason) != (None, None):
        query = query.where(table.c.id.in_(_of_each_status(asked, limit, after)))
    else:
        query = query.where(*asked.conditions(), *_beyond(after))
    with store.read() as connection:
        rows = connection.execute(query.order_by(*_LATEST_FIRST).limit(limit)).all()
    return [archived(row) for row in rows]


_LATEST_FIRST = table.c.at.desc(), table.c.id


def _beyond(after: tuple[datetime, str] | None) -> list[ColumnElement[bool]]:
    if after is None:
        return []
    at, letter_id = after
    return [table.c.at <= at, or_(table.c.at < at, table.c.id > letter_id)]


def _of_each_status(
    filters: Filters, limit: int | None, after: tuple[datetime, str] | None
) -> CompoundSelect[tuple[str]]:
    """The ids of the first ``limit`` letters in each status: the indexes by task and by reason begin with it."""
    firsts = (
        select(table.c.id)
        .where(*replace(filters, status=each).conditions(), *_beyond(after))
        .order_by(*_LATEST_FIRST)
        .limit(limit)
        .subquery()
        for each in Status
    )
    return union_all(*(select(first.c.id) for first in firsts))


def count(store: Store, filters: Filters | None = None) -> int:
    """The number of dead letters that meet ``filters`` (default: those that wait)."""
    query = select(func.count()).select_from(table).where(*(filters or Filters()).conditions())
    with store.read() as connection:
        return int(connection.execute(query).scalar_one())


def packed(letter: DeadLetter) -> bytes:
    """``letter`` as JSON, with its body in base64."""
    values = {item.name: getattr(letter, item.name) for item in fields(letter)}
    failure = letter.failure
    values["failure"] = [failure.error, failure.message, failure.traceback] if failure else None
    return to_json(values).encode()


def row(letter: DeadLetter) -> dict[str, object]:
    """``letter`` as a new row of the table."""
    now = utcnow()
    failure, cause = letter.failure, cause_of(letter)
    return {
        "id": letter.id,
        "job_id": letter.job_id,
        "task": letter.task,
        "queue": letter.queue,
        "reason": letter.reason,
        "error": failure.error if failure else None,
        "message": failure.message if failure else None,
        "traceback": failure.traceback if failure else None,
        "fingerprint": cause.fingerprint,
        "place": cause.place,
        "at": letter.at,
        "archived_at": now,
        "status": Status.WAITING,
        "status_at": now,
        "worker": letter.worker,
        "body": letter.body,
        "content_type": letter.content_type,
        "content_encoding": letter.content_encoding,
        "headers": letter.headers,
        "properties": letter.properties,
        "attempts": attempts(letter.headers),
    }


def archived(row: Row[Any]) -> ArchivedLetter:
    """The letter in a row of the table."""
    failure = Failure(row.error, row.message or "", row.traceback or "") if row.error else None
    letter = DeadLetter(
        id=row.id,
        reason=Reason(row.reason),
        at=row.at,
        queue=row.queue,
        job_id=row.job_id,
        task=row.task,
        failure=failure,
        body=bytes(row.body),
        content_type=row.content_type,
        content_encoding=row.content_encoding,
        headers=row.headers,
        properties=row.properties,
        worker=row.worker,
    )
    return ArchivedLetter(
        letter,
        row.fingerprint,
        Status(row.status),
        row.status_at,
        row.archived_at,
        row.attempts,
        row.claimed_by,
        row.place or "",
        row.new_args,
        row.new_kwargs,
    )


__all__ = [
    "ArchivedLetter",
    "Filters",
    "Status",
    "archived",
    "count",
    "find",
    "list_letters",
    "packed",
    "row",
]
