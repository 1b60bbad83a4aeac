"""Write a batch of events in one transaction, and count it once.

If the connection breaks during a commit, the result of the commit is unknown. Writing the records again is harmless,
but adding the totals again is not. So the transaction also stores the batch's number in the journal's own row, and a
batch whose number is already there adds nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection

from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..store import Store, halving, ledger, lost_records, outbox_rows, refused
from ..store.tables import journals
from ..store.upsert import insert
from . import attempts, jobs, progress, relations, tally
from .following import Record

WRITE_SECONDS = 20.0
"""Maximum seconds for one batch, including the wait for SQLite's lock."""

MAX_REFUSED = 1_048_576
"""Maximum bytes to keep of a record that the database refused."""

logger = logging.getLogger("flask_nightshift.journal")


@dataclass(frozen=True, slots=True)
class Batch:
    """``number`` grows with each batch of the journal ``journal``; ``totals`` are the rows to add.

    ``events`` is the number of events that the batch takes; the ``records`` are those that get rows. ``published`` are
    rows of the outbox to delete, and ``kept`` those of durable jobs that are published; ``ended`` closes rows of
    durable jobs. ``reports`` are the progress of running jobs, ``later`` statements of others. ``lost`` is the number
    of records that the journal dropped since its last batch; it counts once, as the totals do. ``unrecorded``
    records get rows only if their jobs have some (``earlier.py``).
    """

    journal: str
    worker: str
    number: int
    events: int = 0
    records: list[Record] = field(default_factory=list)
    totals: list[dict[str, Any]] = field(default_factory=list)
    published: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    ended: list[ledger.Ended] = field(default_factory=list)
    reports: list[progress.Said] = field(default_factory=list)
    later: list[Callable[[Connection], object]] = field(default_factory=list)
    lost: int = 0
    unrecorded: list[Record] = field(default_factory=list)


def write(store: Store, batch: Batch) -> None:
    """Write ``batch``; writing it again changes nothing. Raises ``DatabaseUnavailable``.

    Records that the database refuses for their content are set aside (``store/refused.py``); the others are written.
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
    with store.begin(timeout=WRITE_SECONDS) as connection:
        outbox_rows.erase(connection, batch.published)  # first: a relay looks at them twice, seconds apart
        outbox_rows.published(connection, batch.kept)
        records = batch.records
        tagged = {
            record.event.job.job_id: record.event.job.tags for record in records if record.event.job.tags
        }
        told = [record for record in records if record.told]
        jobs.write(connection, map(jobs.row, records), told, tagged)
        attempts.write(connection, [record for record in records if not record.told])
        relations.write(connection, records)
        progress.write(connection, batch.reports)
        ledger.close(connection, batch.ended)
        for statement in batch.later:
            statement(connection)
        if (batch.totals or batch.lost) and _is_new(connection, batch):
            _add_lost(connection, batch)
            tally.add(connection, batch.totals)


def _write_what_can_be(store: Store, batch: Batch) -> None:
    """Write each half of the records in its own transaction, so that many bad records cause no timeout."""
    if batch.published or batch.kept or batch.ended or batch.reports or batch.later:
        _write(store, replace(batch, records=[], totals=[], lost=0))
    halving.halve(
        batch.records,
        lambda part: _write(
            store,
            replace(
                batch,
                records=list(part),
                totals=[],
                published=[],
                kept=[],
                ended=[],
                reports=[],
                later=[],
                lost=0,
            ),
        ),
        lambda record, why: _set_aside(store, batch, record.event.job.job_id, why, record),
    )
    if batch.totals or batch.lost:
        for row, why in _add_what_can_be(store, batch):
            _set_aside(store, batch, None, why, row)


def _add_what_can_be(store: Store, batch: Batch) -> list[tuple[dict[str, Any], Exception]]:
    """Write the totals in one transaction with the batch's number, to count them once; returns the refused rows."""
    bad: list[tuple[dict[str, Any], Exception]] = []
    with store.begin(timeout=WRITE_SECONDS) as connection:
        if _is_new(connection, batch):
            _add_lost(connection, batch)
            add = halving.within(connection, tally.add)
            halving.halve(batch.totals, add, lambda row, why: bad.append((row, why)))
    return bad


def _add_lost(connection: Connection, batch: Batch) -> None:
    if batch.lost:
        lost_records.add(connection, batch.lost)


def _set_aside(store: Store, batch: Batch, job_id: str | None, why: Exception, what: object) -> None:
    data = repr(what).encode("utf-8", "backslashreplace")[:MAX_REFUSED]
    try:
        refused.set_aside(store, refused.RECORD, job_id, batch.worker, why, data)
    except DatabaseUnavailable:
        raise
    except Exception:  # the database refuses that too, so only the log keeps it
        # a job's arguments must not appear in a log
        extra = {"job_id": job_id, "record": type(what).__name__, "bytes": len(data)}
        logger.exception("journal.record_refused", extra=extra)


def _is_new(connection: Connection, batch: Batch) -> bool:
    mark = {"id": batch.journal, "worker": batch.worker, "batch": batch.number, "written_at": utcnow()}
    return connection.execute(_mark(connection.dialect.name), mark).first() is not None


@cache
def _mark(dialect: str) -> Any:
    """The statement that stores a batch's number; it returns no row if that or a later number is already stored."""
    statement = insert(dialect, journals)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={"batch": new.batch, "written_at": new.written_at},
        where=new.batch > journals.c.batch,
    ).returning(journals.c.id)


__all__ = ["Batch", "write"]
