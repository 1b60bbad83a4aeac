"""Pages of jobs from the history, newest first, by any filters: for ``flask jobs list`` and the dashboard.

A page is keyed by ``(enqueued_at, id)`` of its last job. Its price does not depend on what the filters exclude: they
choose kinds of jobs (``store/kinds.py``), and the page merges the jobs of these kinds, each by one index. A search in
the text of jobs is the exception; it scans from the newest job on for a limited time, and says how far it got.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, RowMapping, or_, select

from ..domain.job import JobState
from ..errors import InvalidKey
from ..options.task import meant
from ..store import Store, tags
from ..store.tables import jobs, kinds
from ..text.moments import iso_time
from .filters import NAMED, Filters
from .job_keys import Key, Keys, Window

READ_SECONDS = 5.0
"""Maximum seconds for a page; PostgreSQL ends it then."""
SEARCH_SECONDS = 0.08
"""Seconds for which a page of a search looks at jobs."""
MOST = 10_000
"""Maximum number of jobs on a page."""

_FIRST_CHUNK, _LARGEST_CHUNK = 200, 5000
_COLUMNS = (
    "id", "task", "queue", "state", "run", "attempts", "args", "kwargs", "error", "error_message", "enqueued_at",
    "started_at", "finished_at", "due_at", "worker", "request_id",
)  # fmt: skip
_SEARCHED = ("id", "args", "kwargs", "error", "error_message", "request_id")
"""The columns in which a search looks."""


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A job as lists show it; the fields have the meaning of ``JobRecord``."""

    id: str
    task: str
    queue: str
    state: JobState
    run: int
    attempts: int
    args: str | None
    kwargs: str | None
    error: str | None
    error_message: str | None
    enqueued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    worker: str | None
    request_id: str | None
    tags: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The job in plain JSON types."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        } | {"state": str(self.state), "tags": list(self.tags)}


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and ``after``, the key with which the next page begins; None if there is none.

    ``looked_back_to``: a search has looked at the jobs that were enqueued since then; None if it has looked at all, and
    without a search. Then the page may have few jobs, or none, and the next page goes on looking.
    """

    jobs: list[ListedJob] = field(default_factory=list)
    after: str | None = None
    looked_back_to: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """The page in plain JSON types."""
        looked = self.looked_back_to.isoformat() if self.looked_back_to else None
        return {"jobs": [job.as_dict() for job in self.jobs], "after": self.after, "looked_back_to": looked}


def page(
    store: Store,
    filters: Filters | None = None,
    *,
    limit: int = 50,
    after: str | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Page:
    """Up to ``limit`` jobs (at most ``MOST``) that meet ``filters``, newest first, after the key ``after`` of a page.

    Raises ``DatabaseUnavailable``, or ``InvalidKey`` for an ``after`` that no page has given.
    """
    filters = filters or Filters()
    limit = max(1, min(limit, MOST))
    window = Window(filters.since, filters.until, key_from(after) if after is not None else None)
    with store.read(timeout=READ_SECONDS) as connection:
        keys = Keys(connection, filters.conditions, filters.tag)
        if filters.texts:
            return _searched(connection, keys, filters, window, limit, clock)
        found = keys.newest(window, limit + 1)
        more = len(found) > limit
        shown = _jobs(connection, found[:limit], filters)
        return Page([*shown.values()], key_of_page(found[limit - 1]) if more else None)


def key_of_page(key: Key) -> str:
    """``key`` as a text, for ``after``: the time (nothing if it is not known), a comma, the id of the job."""
    return f"{key.at.isoformat() if key.at else ''},{key.id}"


def key_from(text: str) -> Key:
    """The key that ``key_of_page`` wrote; raises ``InvalidKey``."""
    moment, comma, job_id = text.partition(",")
    if not moment and job_id:
        return Key(None, job_id)
    at = iso_time(moment)
    if at is None or not comma or not job_id:
        raise InvalidKey(
            f"{text!r} is not the key of a page: a page says with which key the next one begins, "
            "such as 2026-11-27T10:00:00+00:00,0199…"
        )
    return Key(at, job_id)


def did_you_mean(store: Store, filters: Filters) -> list[str]:
    """Sentences about values of ``filters`` that no job in the history has, with the value that was probably meant."""
    said = []
    with store.read(timeout=READ_SECONDS) as connection:
        for name in (*NAMED, "error"):
            wanted = getattr(filters, name)
            if wanted is None:
                continue
            column = kinds.c[name]
            known = connection.execute(select(column).where(column.is_not(None)).distinct()).scalars().all()
            if not any(_has(value, name, wanted) for value in known):
                near = _near(name, wanted, known)
                hint = f"; did you mean {near!r}?" if near else ""
                said.append(f"no job in the history has the {name} {wanted!r}{hint}")
    return said


def _has(value: str, name: str, wanted: str) -> bool:
    only: dict[str, Any] = {name: wanted}
    return Filters(**only).admits(cast("RowMapping", {name: value}))


def _near(name: str, wanted: str, known: Sequence[str]) -> str | None:
    if name != "error":
        return meant(wanted, known)
    types = [error.rpartition(".")[2] for error in known]
    part = wanted.strip("*").lower()
    return meant(wanted, types) or next((each for each in types if part and part in each.lower()), None)


def searched(filters: Filters) -> list[ColumnElement[bool]]:
    """The conditions that a job has each of the texts to search for."""
    return [
        or_(*(jobs.c[name].icontains(text, autoescape=True) for name in _SEARCHED)) for text in filters.texts
    ]


def _jobs(
    connection: Connection,
    keys: Sequence[Key],
    filters: Filters,
    matches: Sequence[ColumnElement[bool]] = (),
) -> dict[Key, ListedJob]:
    """The jobs of ``keys`` that also meet ``matches``, in their order."""
    rows: dict[str, RowMapping] = {}
    for at in range(0, len(keys), 1000):
        among = jobs.c.id.in_([key.id for key in keys[at : at + 1000]])
        query = select(*(jobs.c[name] for name in _COLUMNS)).where(among, *matches)
        rows.update((row["id"], row) for row in connection.execute(query).mappings())
    tagged = tags.of(connection, rows) if rows else {}
    found = ((key, rows[key.id]) for key in keys if key.id in rows)
    return {key: _job(row, tagged.get(key.id, ())) for key, row in found if filters.admits(row)}


def _job(row: RowMapping, of_job: tuple[str, ...]) -> ListedJob:
    values = dict(row)
    values["state"] = JobState(row["state"])
    return ListedJob(**values, tags=of_job)


def _searched(
    connection: Connection,
    keys: Keys,
    filters: Filters,
    window: Window,
    limit: int,
    clock: Callable[[], float],
) -> Page:
    """A page of the jobs that contain a text; it looks at jobs for ``SEARCH_SECONDS``, a chunk at a time."""
    matches = searched(filters)
    until = clock() + SEARCH_SECONDS
    found: dict[Key, ListedJob] = {}
    chunk = _FIRST_CHUNK
    while True:
        begun = clock()
        looked = keys.newest(window, chunk)
        found |= _jobs(connection, looked, filters, matches)
        if len(found) > limit:
            shown = list(found)[:limit]
            return Page([found[key] for key in shown], key_of_page(shown[-1]))
        if len(looked) < chunk:
            return Page([*found.values()])
        window = window.after(looked[-1])
        took, left = clock() - begun, until - clock()
        if left <= took:
            return Page([*found.values()], key_of_page(looked[-1]), looked[-1].at)
        chunk = min(_LARGEST_CHUNK, max(1, int(chunk * min(2.0, left / took / 2))))


__all__ = [
    "MOST",
    "SEARCH_SECONDS",
    "Filters",
    "ListedJob",
    "Page",
    "did_you_mean",
    "key_from",
    "key_of_page",
    "page",
    "searched",
]
