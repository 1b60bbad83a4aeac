"""One batch of what happened, written in one transaction, and counted once.

When the connection breaks during a commit nobody knows whether it was done. Writing the records again is
harmless; adding the totals again is not. So the transaction also stores the batch's number in the
journal's own row, and a batch whose number stands there already adds nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection

from ..domain.events import JobEvent, JobStarted, JobSucceeded
from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..store import Store, halving, refused
from ..store.tables import journals
from ..store.upsert import insert
from . import attempts, jobs, tally

TIMEOUT = 20.0
"""Seconds that one batch may take, waiting for SQLite's lock included."""

MAX_REFUSED = 1_048_576
"""Bytes kept of a record that the database refused."""

logger = logging.getLogger("flask_nightshift.journal")

Record = tuple[JobEvent, attempts.Start | None]


@dataclass(frozen=True, slots=True)
class Batch:
    """``number`` grows with each batch of the journal ``journal``; ``totals`` are rows to add."""

    journal: str
    worker: str
    number: int
    records: list[Record] = field(default_factory=list)
    totals: list[dict[str, Any]] = field(default_factory=list)


def write(store: Store, batch: Batch) -> None:
    """Write ``batch``; writing it again changes nothing. Raises ``DatabaseUnavailable``.

    What the database refuses for its content is set aside (``store/refused.py``), and the rest is written.
    """
    try:
        _write(store, batch)
    except DatabaseUnavailable:
        raise
    except Exception as exc:  # noqa: BLE001 - no outage, so it is about one of the records: find it
        logger.warning(
            "journal.batch_halved", extra={"records": len(batch.records), "error": str(exc)[:2000]}
        )
        _write_what_can_be(store, batch)


def _write(store: Store, batch: Batch) -> None:
    with store.begin(timeout=TIMEOUT) as connection:
        records = _telling(batch.records)
        jobs.write(connection, [jobs.row(event, start) for event, start in records])
        rows = [attempts.row(event, start) for event, start in records]
        attempts.write(connection, [row for row in rows if row is not None])
        if batch.totals and _is_new(connection, batch):
            tally.add(connection, batch.totals)


def _write_what_can_be(store: Store, batch: Batch) -> None:
    """Each half of the records in a transaction of its own, so that many bad ones end in no timeout."""
    halving.halve(
        batch.records,
        lambda part: _write(store, replace(batch, records=list(part), totals=[])),
        lambda record, why: _set_aside(store, batch, record[0].job.job_id, why, record),
    )
    if batch.totals:
        for row, why in _add_what_can_be(store, batch):
            _set_aside(store, batch, None, why, row)


def _add_what_can_be(store: Store, batch: Batch) -> list[tuple[dict[str, Any], Exception]]:
    """The totals in one transaction with the batch's number, since they must count once; what was refused."""
    bad: list[tuple[dict[str, Any], Exception]] = []
    with store.begin(timeout=TIMEOUT) as connection:
        if _is_new(connection, batch):
            add = halving.within(connection, tally.add)
            halving.halve(batch.totals, add, lambda row, why: bad.append((row, why)))
    return bad


def _set_aside(store: Store, batch: Batch, job_id: str | None, why: Exception, what: object) -> None:
    data = repr(what).encode("utf-8", "backslashreplace")[:MAX_REFUSED]
    try:
        refused.set_aside(store, refused.RECORD, job_id, batch.worker, why, data)
    except DatabaseUnavailable:
        raise
    except Exception:  # it refuses that too: the log has the last word
        # what the job was called with does not belong into a log
        extra = {"job_id": job_id, "record": type(what).__name__, "bytes": len(data)}
        logger.exception("journal.record_refused", extra=extra)


def _telling(records: list[Record]) -> list[Record]:
    """``records`` without the starts of attempts whose success is among them, which tells their start too."""
    told = {_attempt(event) for event, start in records if isinstance(event, JobSucceeded) and start}
    return [each for each in records if not (isinstance(each[0], JobStarted) and _attempt(each[0]) in told)]


def _attempt(event: JobEvent) -> tuple[str, int, int]:
    return event.job.job_id, event.job.run, event.job.attempt


def _is_new(connection: Connection, batch: Batch) -> bool:
    mark = {"id": batch.journal, "worker": batch.worker, "batch": batch.number, "written_at": utcnow()}
    return connection.execute(_mark(connection.dialect.name), mark).first() is not None


@cache
def _mark(dialect: str) -> Any:
    """The statement that notes the number of a batch; it gives no row if that, or a later one, stands there."""
    statement = insert(dialect, journals)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"batch": new.batch, "written_at": new.written_at},
        where=new.batch > journals.c.batch,
    ).returning(journals.c.id)


__all__ = ["Batch", "Record", "write"]
