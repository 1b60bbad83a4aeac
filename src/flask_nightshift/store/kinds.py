"""Kinds of jobs: state, task, queue, worker and error as one number, so that one index answers every list of jobs.

A job's row has the number of its kind, and the index ``(kind, enqueued_at, id)`` holds the jobs of each kind by time.
``nightshift_kinds`` says what each number means. A list looks up the kinds that meet its filters and merges their jobs,
newest first. So its price depends on the number of kinds, and not on how many jobs a filter excludes.

The number is a digest, so processes need not agree on it. A process writes the kinds that it has not seen in the table
(``learn``). It knows a kind only after it has read it there, because a transaction may fail.

A worker of an older version writes rows without a kind, and changes a row without changing its kind. ``fill`` mends
both; ``migrate`` and the hourly retention call it. Until then, lists with filters do not show such a job.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    Text,
    bindparam,
    delete,
    func,
    select,
    type_coerce,
    update,
)

from ..domain.job import JobState, utcnow
from .tables import jobs, kinds, tags
from .upsert import insert

CHUNK, PORTION = 1000, 100
"""Maximum number of rows that ``fill`` looks for at once, and that it changes in one transaction."""
FILL_SECONDS = 20.0
KEPT = timedelta(days=2)
"""How long to keep a kind without jobs after a process last said that it uses it; more than ``_SAY_AGAIN``."""

_SAY_AGAIN = timedelta(days=1)
_SURE = timedelta(minutes=1)
"""A kind that was written longer ago is committed."""
_TRUSTED = 3600.0
"""Seconds after which a process reads again whether its kinds are in the table."""
_MOST = 50_000
_UNENDED = (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING)

Meaning = tuple[str, str, str, str | None, str | None]
"""State, task, queue, worker and error of a kind."""


_numbers: dict[Meaning, int] = {}


def kind_of(state: str, task: str, queue: str, worker: str | None, error: str | None) -> int:
    """The number of a kind, from 0 to 2⁴⁷ - 1; SQLite stores it in six bytes."""
    meaning = (state, task, queue, worker, error)
    found = _numbers.get(meaning)
    if found is None:
        parts = ("\0".join(part or "" for part in meaning)).encode("utf-8", "backslashreplace")
        found = int.from_bytes(hashlib.blake2b(parts, digest_size=6).digest()) >> 1
        if len(_numbers) >= _MOST:
            _numbers.clear()
        _numbers[meaning] = found
    return found


class _Known(NamedTuple):
    """The kinds that a process has read in one database, and until when it trusts that."""

    kinds: set[int]
    until: float


_known: WeakKeyDictionary[Engine, _Known] = WeakKeyDictionary()
_lock = threading.Lock()


def learn(connection: Connection, rows: Iterable[Any]) -> None:
    """Write the kinds of ``rows`` (``journal.JobRow``) that the table may lack, in the same transaction."""
    used = {row.kind: row for row in rows}
    known = _kinds_known_to(connection.engine)
    unknown = sorted(kind for kind in used if kind is not None and kind not in known)
    if not unknown:
        return
    now = utcnow()
    told: dict[int, datetime] = {}
    for at in range(0, len(unknown), 500):
        some = select(kinds.c.id, kinds.c.seen_at).where(kinds.c.id.in_(unknown[at : at + 500]))
        told.update((row.id, row.seen_at) for row in connection.execute(some))
    known.update(kind for kind, at in told.items() if now - _SAY_AGAIN < at < now - _SURE)
    to_say = [kind for kind in unknown if kind not in told or told[kind] <= now - _SAY_AGAIN]
    _write(connection, {kind: _meaning(used[kind]) for kind in to_say}, now)


def _kinds_known_to(engine: Engine) -> set[int]:
    with _lock:
        found = _known.get(engine)
        if found is None or found.until < time.monotonic():
            found = _known[engine] = _Known(set(), time.monotonic() + _TRUSTED)
        return found.kinds


def _meaning(row: Any) -> Meaning:
    return row.state, row.task, row.queue, row.worker, row.error


def _write(connection: Connection, found: Mapping[int, Meaning], now: datetime) -> None:
    if not found:
        return
    statement = insert(connection.dialect.name, kinds)
    statement = statement.on_conflict_do_update(
        index_elements=["id"], set_={"seen_at": statement.excluded.seen_at}
    )
    names = ("state", "task", "queue", "worker", "error")
    rows = [
        {"id": kind, **dict(zip(names, found[kind], strict=True)), "seen_at": now} for kind in sorted(found)
    ]
    connection.execute(statement, rows)


Begin = Callable[..., AbstractContextManager[Connection]]


def fill(read: Begin, begin: Begin, stopped: Callable[[], bool] = lambda: False) -> int:
    """Give rows that an older version wrote their kind and, if it is not known, their time; returns how many.

    ``read(timeout=seconds)`` and ``begin(timeout=seconds)`` give transactions. One that writes looks for nothing: to
    look for rows may mean to read all jobs that have not ended. Raises ``DatabaseUnavailable``.
    """
    filled = 0
    for lacking in (_without_kind(), _outdated(), _without_time()):
        before: set[str] = set()
        while not stopped():
            with read(timeout=FILL_SECONDS) as connection:
                found = connection.execute(lacking.limit(CHUNK)).scalars().all()
            if before.issuperset(found):  # nothing, or rows that somebody else locks
                break
            for at in range(0, len(found), PORTION):
                with begin(timeout=FILL_SECONDS) as connection:
                    filled += _fill_some(connection, found[at : at + PORTION])
            before = set(found)
    return filled


_ID = type_coerce(jobs.c.id, Text())  # as it is stored: older versions did not shorten it
_ROW = (jobs.c.id, jobs.c.state, jobs.c.task, jobs.c.queue, jobs.c.worker, jobs.c.error)


def _without_kind() -> Select[Any]:
    return select(_ID).where(jobs.c.kind.is_(None))


def _outdated() -> Select[Any]:
    """The jobs that are in another state than their kind, which has not ended: an older version went on with them."""
    query = select(_ID).join(kinds, kinds.c.id == jobs.c.kind)
    return query.where(kinds.c.state.in_(_UNENDED), kinds.c.state != jobs.c.state)


def _without_time() -> Select[Any]:
    return select(_ID).where(jobs.c.enqueued_at.is_(None))


def _fill_some(connection: Connection, job_ids: Sequence[str]) -> int:
    # somebody who writes a row that we would wait for writes its kind, too
    query = select(*_ROW).where(_ID.in_(job_ids)).with_for_update(skip_locked=True, of=jobs)
    found = connection.execute(query).all()
    if not found:
        return 0
    used = {row.id: kind_of(*_meaning(row)) for row in found}
    first_heard = func.coalesce(jobs.c.enqueued_at, jobs.c.started_at, jobs.c.finished_at, jobs.c.updated_at)
    this = bindparam("job", type_=Text()) == _ID
    change = update(jobs).where(this).values(kind=bindparam("number"), enqueued_at=first_heard)
    connection.execute(change, [{"job": job, "number": kind} for job, kind in used.items()])
    of_job = jobs.c.id == tags.c.job_id
    known = {name: select(jobs.c[name]).where(of_job).scalar_subquery() for name in ("kind", "enqueued_at")}
    connection.execute(update(tags).where(tags.c.job_id.in_(list(used))).values(**known))
    _write(connection, {used[row.id]: _meaning(row) for row in found}, utcnow())
    return len(found)


def prune(begin: Begin, now: datetime) -> int:
    """Delete the kinds that no job has any more; returns how many. Raises ``DatabaseUnavailable``."""
    unused = (
        kinds.c.seen_at < now - KEPT,
        ~select(jobs.c.id).where(jobs.c.kind == kinds.c.id).exists(),
    )
    with begin(timeout=FILL_SECONDS) as connection:
        return int(connection.execute(delete(kinds).where(*unused)).rowcount)


__all__ = ["KEPT", "Meaning", "fill", "kind_of", "learn", "prune"]
