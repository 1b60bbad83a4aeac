"""The table of markers: each function is one statement over a connection, in its transaction.

No statement waits for another transaction. Who writes a marker on PostgreSQL first tries to get an advisory lock of its
key, which ends with the transaction, so an uncommitted row of the same key is never met. Each write names the row that
it replaces, so of two writers one changes nothing, and learns that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, select, text, update

from ..journal.purged import PURGED
from ..message.headers import run
from ..store.tables import dead_letters, jobs, markers
from ..store.upsert import insert
from .deciding import Ending, Marker, Owner

BUSY_MS = 1_000
"""Milliseconds to wait for SQLite's write lock, which most writers hold for less."""

_COLUMNS = ("job_id", "run", "taken_at", "finished_at", "expires_at")
_AS_IT_IS: dict[str, Any] = {
    "schema_translate_map": {}
}  # our table has one place, whatever the caller's have
_WELL = ("succeeded", "skipped")
_OTHERWISE = ("dead", "cancelled", "expired")
_TRY = text("SELECT pg_try_advisory_xact_lock(:key)")
_HOLDER = text("""
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()
    AND classid = CAST(:high AS bigint)::oid AND objid = CAST(:low AS bigint)::oid
""")


def try_lock(connection: Connection, key: str) -> bool:
    """Whether no other transaction writes the marker of ``key`` now; on SQLite only one writes at all."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(_execute(connection, _TRY, {"key": _number(key)}).scalar_one())


def holder(connection: Connection, key: str) -> str:
    """Which other transaction of PostgreSQL writes the marker of ``key``, for a message."""
    number = _number(key) & (2**64 - 1)
    asked = {"high": number >> 32, "low": number & 0xFFFFFFFF}
    pid = _execute(connection, _HOLDER, asked).scalar()
    return f"another transaction (PostgreSQL process {pid})" if pid else "another transaction"


def read(connection: Connection, key: str) -> Marker | None:
    """The marker of ``key``."""
    columns = [markers.c[name] for name in _COLUMNS]
    found = _execute(connection, select(*columns).where(markers.c.key == key)).first()
    return Marker(*found) if found is not None else None


@contextlib.contextmanager
def impatient(connection: Connection) -> Iterator[None]:
    """On SQLite, wait for at most ``BUSY_MS`` for the write lock, which another one may hold for its whole block."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {min(before, BUSY_MS)}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {before}")


def take(connection: Connection, key: str, marker: Marker, over: Marker | None) -> bool:
    """Write ``marker`` in place of ``over`` (None: there is no row); False if another one has been faster."""
    values = dict(zip(_COLUMNS, marker, strict=True))
    if over is None:
        made = insert(connection.dialect.name, markers).values(key=key, **values).on_conflict_do_nothing()
        # an insert has no dependable row count
        return _execute(connection, made.returning(markers.c.key)).first() is not None
    return _updated(connection, key, over, values)


def finish(connection: Connection, key: str, marker: Marker, now: datetime, expires: datetime) -> bool:
    """Say that the work of ``marker`` is done; False if another one has taken it over."""
    values = {"finished_at": now, "expires_at": expires}
    return _updated(connection, key, marker, values)


def release(connection: Connection, key: str, marker: Marker) -> None:
    """Delete ``marker``, unless another one has taken it over."""
    _execute(connection, delete(markers).where(_is(key, marker)))


def ending(connection: Connection, owner: Owner) -> Ending:
    """How this run of a job has ended, as the history says, or a dead letter: the history need not have the job."""
    columns = jobs.c.state, jobs.c.run, jobs.c.error
    found = connection.execute(select(*columns).where(jobs.c.id == owner.job_id)).first()
    if found is None or found.run < owner.run:
        return Ending.OTHERWISE if _has_died(connection, owner) else Ending.UNKNOWN
    if found.run > owner.run:
        return Ending.OTHERWISE
    if found.state in _OTHERWISE:
        # the history guesses which jobs were purged: a worker may run this one
        return Ending.UNKNOWN if found.error == PURGED else Ending.OTHERWISE
    return Ending.WELL if found.state in _WELL else Ending.UNKNOWN


def _has_died(connection: Connection, owner: Owner) -> bool:
    query = select(dead_letters.c.headers).where(dead_letters.c.job_id == owner.job_id)
    return any(run(headers) >= owner.run for headers in connection.execute(query).scalars())


def _updated(connection: Connection, key: str, marker: Marker, values: dict[str, Any]) -> bool:
    return bool(_execute(connection, update(markers).where(_is(key, marker)).values(**values)).rowcount == 1)


def _is(key: str, marker: Marker) -> ColumnElement[bool]:
    return and_(
        markers.c.key == key,
        markers.c.job_id.is_not_distinct_from(marker.job_id),
        markers.c.run == marker.run,
        markers.c.taken_at == marker.taken_at,
    )


def _number(key: str) -> int:
    """The number of PostgreSQL's lock for ``key``; two keys with the same one wait for each other, and no more."""
    return int.from_bytes(blake2b(f"nightshift once {key}".encode("utf-8", "surrogatepass"), digest_size=8).digest(),
                          "big", signed=True)  # fmt: skip


def _execute(connection: Connection, statement: Any, values: Any = None) -> Any:
    return connection.execute(statement, values, execution_options=_AS_IT_IS)


__all__ = ["ending", "finish", "holder", "impatient", "read", "release", "take", "try_lock"]
