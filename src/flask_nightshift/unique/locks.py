"""The locks of unique jobs in the table ``nightshift_locks``, where the broker runs no scripts (RabbitMQ).

A lock is claimed in a short transaction of ours, before the publish, and released just before the job is acknowledged,
or after its burial is written. Publishing needs the database then. Running does not (invariant 7): if the database is
away, a job begins all the same, and its lock ends by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import Connection, and_, delete, or_, select, update

from ..brokers.values import HeldLock
from ..domain.job import JobState, utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..message.copies import Copy, copy_of
from ..message.envelope import Envelope
from ..message.headers import history
from ..message.unique import REPLACE, Holders, Lock, to_claim
from ..store import Store
from ..store.copies import arrived
from ..store.tables import jobs
from ..store.tables import locks as table
from ..store.upsert import insert
from ..text.lines import LOGGER, Line
from . import rows
from .rows import REPLACED

CLAIM_SECONDS = 1.5
"""Seconds within which a claim succeeds or raises ``DatabaseUnavailable``, so that the publish has time left."""
WORKER_SECONDS = 1.0
"""Seconds for which a worker waits for the database."""
REPLACED_FOR = timedelta(days=30)
"""How long, from when a replaced job was due, its message is recognised, so that it does not run."""
_CHUNK = 100

logger = logging.getLogger(LOGGER)


class Rows(Protocol):
    """The outbox, as claims use it: a job that has its lock waits there until the broker has it."""

    def write(
        self, connection: Connection, envelopes: Sequence[Envelope], queue: str, due: datetime | None
    ) -> list[Envelope]:
        """Write a row for each of ``envelopes``; returns them as they are to be published."""

    def are_written(self, envelopes: Sequence[Envelope]) -> bool:
        """Whether there are rows for ``envelopes``, as ``write`` returned them."""

    def erase(self, connection: Connection, envelopes: Sequence[Envelope]) -> None:
        """Delete the rows of ``envelopes``, if there are any."""


class DatabaseLocks:
    """The locks in ``store``; the jobs that have claimed them wait in its outbox, ``rows``."""

    def __init__(self, store: Store, rows: Rows) -> None:
        self._store = store
        self._rows = rows

    # publishing
    def claim(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        due: datetime | None,
        held: Holders,
        *,
        from_outbox: bool,
    ) -> list[Envelope]:
        """Claim the locks, and write the jobs to the outbox, in one transaction for up to ``_CHUNK`` jobs.

        A second publish from an outbox claims none: its worker drops it, so nobody would release the lock.
        """
        free: list[Envelope] = []
        for at in range(0, len(envelopes), _CHUNK):
            some = envelopes[at : at + _CHUNK]
            with self._claiming() as connection:
                known = _arrived(connection, some) if from_outbox else set()
                first = [each for each in some if copy_of(each.headers) not in known]
                locks = [lock for envelope in first if (lock := to_claim(envelope.headers)) is not None]
                queues = {each.headers["id"]: history(each.headers).get("queue") or queue for each in first}
                held |= _claim(connection, locks, due, queues)
                left = [envelope for envelope in some if envelope.headers["id"] not in held]
                free += left if from_outbox else self._rows.write(connection, left, queue, due)
        return free

    @contextmanager
    def _claiming(self) -> Iterator[Connection]:
        try:
            with self._store.begin(timeout=CLAIM_SECONDS) as connection:
                yield connection
        except DatabaseUnavailable as exc:
            raise DatabaseUnavailable(
                f"{exc}. The locks of unique jobs are there, so none can be enqueued."
            ) from exc

    def published(self, envelopes: Sequence[Envelope]) -> None:
        """Delete the jobs from the outbox; if the database is away, a relay publishes them again, as second copies."""
        try:
            with self._store.begin(timeout=WORKER_SECONDS) as connection:
                self._rows.erase(connection, envelopes)
        except DatabaseUnavailable as exc:
            logger.warning(Line("outbox.not_erased", f"jobs will be published again: {exc}", why=str(exc)))

    def postponed(self, envelopes: Sequence[Envelope], why: BaseException) -> bool:
        """Leave the jobs in the outbox for a relay if the broker is away; else forget them and their locks."""
        if isinstance(why, BrokerUnavailable) and self._rows.are_written(envelopes):
            return True
        with suppress(DatabaseUnavailable), self._store.begin(timeout=WORKER_SECONDS) as connection:
            self._rows.erase(connection, envelopes)
            for envelope in envelopes:
                if (lock := to_claim(envelope.headers)) is not None:
                    _restore(connection, lock)
        return False

    # working
    def begin(self, message: Any, lock: Lock) -> str:  # noqa: ARG002 - the Protocol's
        """The job begins, also if the database is away."""
        return self.step([lock], []).get(lock.job_id, "")

    def settled(self, lock: Lock) -> None:
        """Release the lock; if the database is away, it ends by itself."""
        self.step([], [lock])

    def step(self, begun: Sequence[Lock], settled: Sequence[Lock]) -> dict[str, str]:
        """Some jobs begin and others release their locks, in one transaction."""
        try:
            with self._store.begin(timeout=WORKER_SECONDS) as connection:
                replaced = rows.begin(connection, begun) if begun else {}
                if settled:
                    rows.release(connection, settled)
                return replaced
        except DatabaseUnavailable as exc:
            for lock in begun:
                text = f"it begins without a look at its lock {lock.key!r}: {exc}"
                logger.warning(Line("job.lock_unknown", text, **_fields(lock), why=str(exc)))
            for lock in settled:
                text = f"its lock {lock.key!r} is not released, and ends by itself: {exc}"
                logger.warning(Line("job.lock_kept", text, **_fields(lock), why=str(exc)))
            return {}

    # operating
    def cancelled(self, job_ids: Sequence[str]) -> None:
        """Release the locks of those jobs that have not begun."""
        unstarted = table.c.started_at.is_(None) & (table.c.until != REPLACED)
        with self._store.begin() as connection:
            for at in range(0, len(job_ids), _CHUNK):
                mine = table.c.job_id.in_(job_ids[at : at + _CHUNK])
                connection.execute(delete(table).where(unstarted, mine))

    def purged(self, queue: str) -> None:
        """Release the locks of jobs that waited there; of an earlier version, as far as the history knows them."""
        now = utcnow()
        ready = or_(table.c.due_at.is_(None), table.c.due_at <= now)
        waited = select(jobs.c.id).where(
            jobs.c.queue == queue,
            jobs.c.state == JobState.QUEUED,
            or_(jobs.c.due_at.is_(None), jobs.c.due_at <= now),
        )
        with self._store.begin() as connection:
            unstarted = table.c.started_at.is_(None) & (table.c.until != REPLACED)
            old = and_(table.c.queue.is_(None), table.c.job_id.in_(waited))
            here = or_(and_(table.c.queue == queue, ready), old)
            connection.execute(delete(table).where(unstarted, table.c.taken_at < now, here))

    def replaced_by(self, job_id: str) -> str:
        """As its tombstone says."""
        query = select(table.c.job_id).where(table.c.key == rows.tombstone(job_id))
        with self._store.read() as connection:
            return str(connection.execute(query).scalar() or "")

    def held(self, limit: int, after: str = "") -> list[HeldLock]:
        """Up to ``limit`` locks, by key, after the key ``after``."""
        valid = (table.c.until != REPLACED, table.c.expires_at > utcnow(), table.c.key > after)
        with self._store.read() as connection:
            found = connection.execute(select(table).where(*valid).order_by(table.c.key).limit(limit)).all()
        return [_read(row) for row in found]

    def release(self, key: str) -> HeldLock | None:
        """Delete the lock, whoever holds it."""
        held = (table.c.key == key, table.c.until != REPLACED)
        with self._store.begin() as connection:
            row = connection.execute(delete(table).where(*held).returning(*table.c)).one_or_none()
        return _read(row) if row is not None else None


def _arrived(connection: Connection, envelopes: Sequence[Envelope]) -> set[Copy]:
    return arrived(connection, filter(None, (copy_of(each.headers) for each in envelopes)))


def _claim(
    connection: Connection, locks: Iterable[Lock], due: datetime | None, queues: Mapping[str, str]
) -> Holders:
    """Claim ``locks``; returns the holders of those that are held. ``queues``: where each job is going to wait."""
    now = utcnow()
    by_key: dict[str, Lock] = {}
    held: Holders = {}
    locks = sorted(
        locks, key=lambda lock: lock.key
    )  # one order in all processes, so that they do not deadlock
    for lock in locks:
        before = by_key.get(lock.key)
        if before is None or lock.on_duplicate == REPLACE:
            by_key[lock.key] = lock
        if before is not None:
            winner = by_key[lock.key]
            loser = before if winner is lock else lock
            held[loser.job_id] = winner.job_id
    if not by_key:
        return held
    connection.execute(delete(table).where(table.c.key.in_(by_key), table.c.expires_at <= now))
    values = [_row(lock, now, due, queues[lock.job_id]) for lock in by_key.values()]
    statement = insert(connection.dialect.name, table).values(values)
    statement = statement.on_conflict_do_nothing(index_elements=["key"]).returning(table.c.key)
    new = set(connection.execute(statement).scalars())
    taken = [lock for key, lock in by_key.items() if key not in new]
    for lock in taken:
        if holder := _take_over(connection, lock, _row(lock, now, due, queues[lock.job_id])):
            held[lock.job_id] = holder
    return held


def _take_over(connection: Connection, lock: Lock, row: dict[str, Any]) -> str:
    """Claim a lock that exists, with ``row``: returns the id of its holder, or '' if the job has it now."""
    query = select(table.c.job_id, table.c.started_at).where(table.c.key == lock.key).with_for_update()
    holder = connection.execute(query).one_or_none()
    if holder is None:
        connection.execute(table.insert().values(row))
        return ""
    if holder.job_id == lock.job_id:
        return ""
    if lock.on_duplicate != REPLACE or holder.started_at is not None:
        return str(holder.job_id)
    connection.execute(update(table).where(table.c.key == lock.key).values(row))
    tombstone = {
        **row,
        "key": rows.tombstone(holder.job_id),
        "until": REPLACED,
        "expires_at": max(row["taken_at"], row["due_at"] or row["taken_at"]) + REPLACED_FOR,
    }
    connection.execute(insert(connection.dialect.name, table).values(tombstone).on_conflict_do_nothing())
    return ""


def _restore(connection: Connection, lock: Lock) -> None:
    """Release a lock that was claimed for nothing; the job that it replaced, if any, gets it back."""
    replaced = (table.c.job_id == lock.job_id, table.c.until == REPLACED)
    query = delete(table).where(*replaced).returning(table.c.key)
    old = connection.execute(query).scalars().first()
    if old is None:
        connection.execute(delete(table).where(rows.mine(lock)))
    else:
        values = {"job_id": old.removeprefix(f"{REPLACED}:")}
        connection.execute(update(table).where(rows.mine(lock)).values(values))


def _fields(lock: Lock) -> dict[str, str]:
    return {"job_id": lock.job_id, "task": lock.task}


def _row(lock: Lock, now: datetime, due: datetime | None, queue: str) -> dict[str, Any]:
    return {
        "key": lock.key,
        "job_id": lock.job_id,
        "task": lock.task,
        "until": lock.until,
        "taken_at": now,
        "expires_at": max(now, due or now) + timedelta(seconds=lock.seconds),
        "started_at": None,
        "queue": queue,
        "due_at": due,
    }


def _read(row: Any) -> HeldLock:
    return HeldLock(row.key, row.job_id, row.task, row.until, row.taken_at, row.expires_at, row.started_at)


__all__ = ["DatabaseLocks", "Rows"]
