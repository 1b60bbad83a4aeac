"""Replay or discard many dead letters, a portion at a time, each portion in one transaction of the caller's.

A replay of a portion marks its letters and writes their jobs into the outbox, all or nothing. So whenever a process
dies, each letter is replayed once: what was written is published by its relay or by another one, and the broker or a
worker recognises a second publish.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, literal, select, tuple_, update

from ..domain.job import Reason, utcnow
from ..journal import record_replayed
from ..message.burial import revived
from ..message.headers import ref
from ..message.unique import lock_of
from ..outbox import writing
from ..outbox.rows import Row, row_of
from ..store import Store
from ..store.tables import dead_letters as table
from ..store.types import KeyText, UtcDateTime
from .letters import ArchivedLetter, Filters, Status, archived
from .replay import unfit

MOST_BYTES = 8_000_000
"""Bytes of bodies and headers after which a portion takes no further letter."""
MOVED_ON = "somebody else has replayed or discarded it"

logger = logging.getLogger("flask_nightshift.dead_letters")


class Key(NamedTuple):
    """The place of a letter among others: the earliest death first."""

    at: datetime
    id: str


class Portion(NamedTuple):
    """The next letters. ``reached``: the last one of them that was looked at; None if there is none.

    ``blocked``: somebody replays the letter after them now. ``ended``: there is no letter after them.
    """

    letters: list[ArchivedLetter]
    reached: Key | None
    blocked: bool
    ended: bool

    def before(self, letter_id: str) -> Portion:
        """The letters before ``letter_id``, which is one of them and not the first."""
        at = next(at for at, each in enumerate(self.letters) if each.letter.id == letter_id)
        last = self.letters[at - 1].letter
        return Portion(self.letters[:at], Key(last.at, last.id), blocked=False, ended=False)


def extent(store: Store, filters: Filters, among: Sequence[Status]) -> tuple[int, Key | None]:
    """The number of letters that meet ``filters`` and have a status ``among`` these, and the last of them."""
    wanted = _conditions(filters, among)
    last = (
        select(table.c.at, table.c.id).where(*wanted).order_by(table.c.at.desc(), table.c.id.desc()).limit(1)
    )
    with store.read() as connection:
        count = int(connection.execute(select(func.count()).select_from(table).where(*wanted)).scalar_one())
        row = connection.execute(last).one_or_none()
    return count, Key(row.at, row.id) if row is not None else None


def following(
    store: Store, filters: Filters, among: Sequence[Status], reached: Key | None, last: Key, most: int
) -> Portion:
    """Up to ``most`` of the letters after ``reached`` and up to ``last``, with their bodies."""
    between = [_place() <= _literal(last)]
    if reached is not None:
        between.append(_place() > _literal(reached))
    query: Select[Any] = select(
        table.c.at,
        table.c.id,
        table.c.status,
        (func.length(table.c.body) + func.length(table.c.headers)).label("size"),
    )
    query = query.where(*_conditions(filters, (*among, Status.REPLAYING)), *between)
    with store.read() as connection:
        found = connection.execute(query.order_by(table.c.at, table.c.id).limit(most + 1)).all()
        chosen = _chosen(found[:most])
        rows = connection.execute(select(table).where(table.c.id.in_([row.id for row in chosen]))).all()
    letters = sorted(map(archived, rows), key=lambda each: (each.letter.at, each.letter.id))
    blocked = len(chosen) < len(found) and found[len(chosen)].status == Status.REPLAYING
    reached = Key(chosen[-1].at, chosen[-1].id) if chosen else None
    return Portion(letters, reached, blocked, len(chosen) == len(found))


def needs_its_own(archived: ArchivedLetter) -> bool:
    """Whether the letter is replayed by itself: a unique job needs its lock, and a message may be no job."""
    letter = archived.letter
    if not letter.job_id or not letter.task or letter.reason in (Reason.UNDECODABLE, Reason.INVALID):
        return True
    return lock_of(letter.headers) is not None


def replay(
    connection: Connection,
    letters: Iterable[ArchivedLetter],
    among: Sequence[Status],
    *,
    relay: str,
    queue: str | None,
    force: bool,
    recorded: bool,
) -> tuple[list[Row], dict[str, str]]:
    """Replay ``letters`` in the transaction of ``connection``; returns rows of the outbox, claimed by ``relay``.

    And the reasons of letters that are skipped, by id. ``recorded``: the history has jobs.
    """
    rows: dict[str, Row] = {}
    skipped: dict[str, str] = {}
    refs = {}
    for each in letters:
        letter, target = each.letter, queue or each.letter.queue
        if why := unfit(letter, force=force, queue=queue):
            skipped[letter.id] = why
            continue
        try:
            row = row_of(revived(letter), task=str(letter.task), queue=target, due=None)
        except (TypeError, ValueError) as exc:
            skipped[letter.id] = f"the broker does not take it: {exc}"
            continue
        rows[letter.id] = row._replace(claimed_by=relay, claimed_at=utcnow())
        refs[letter.id] = ref(letter.headers, target)
    marked = _mark(connection, rows, among, Status.REPLAYED)
    skipped |= {letter_id: MOVED_ON for letter_id in rows if letter_id not in marked}
    if marked:
        writing.write(connection, [rows[letter_id] for letter_id in marked])
    if recorded:
        record_replayed(connection, [refs[letter_id] for letter_id in marked], utcnow())
    return [rows[letter_id] for letter_id in marked], skipped


def discard(
    connection: Connection, letters: Iterable[ArchivedLetter], among: Sequence[Status]
) -> tuple[int, dict[str, str]]:
    """Discard ``letters`` in the transaction of ``connection``; returns how many, and why others are skipped."""
    ids = [each.letter.id for each in letters]
    marked = set(_mark(connection, ids, among, Status.DISCARDED))
    return len(marked), {letter_id: MOVED_ON for letter_id in ids if letter_id not in marked}


def tell_replayed(rows: Iterable[Row]) -> None:
    """Log that the jobs of ``rows`` were replayed."""
    for row in rows:
        extra = {"job_id": row.job_id, "task": row.task, "queue": row.queue}
        logger.info("dead_letters.replayed", extra=extra)


def _mark(connection: Connection, ids: Iterable[str], among: Sequence[Status], status: Status) -> list[str]:
    """Give the letters a new status, in the order of ``ids``; returns those that had one ``among`` these."""
    wanted = list(ids)
    if not wanted:
        return []
    now = utcnow()
    change = update(table).where(table.c.id.in_(wanted), table.c.status.in_(among))
    done = change.values(status=status, status_at=now, claimed_by=None).returning(table.c.id)
    changed = set(connection.execute(done).scalars())
    return [letter_id for letter_id in wanted if letter_id in changed]


def _chosen(found: Sequence[Any]) -> list[Any]:
    """The first of ``found`` that one portion takes: until one that somebody replays now, or ``MOST_BYTES``."""
    chosen: list[Any] = []
    size = 0
    for row in found:
        if row.status == Status.REPLAYING or (chosen and size + row.size > MOST_BYTES):
            break
        chosen.append(row)
        size += row.size
    return chosen


def _conditions(filters: Filters, among: Sequence[Status]) -> list[Any]:
    return [*replace(filters, status=None).conditions(), table.c.status.in_(among)]


def _place() -> Any:
    return tuple_(table.c.at, table.c.id)


def _literal(key: Key) -> Any:
    return tuple_(literal(key.at, UtcDateTime()), literal(key.id, KeyText()))


__all__ = ["Key", "Portion", "discard", "extent", "following", "needs_its_own", "replay", "tell_replayed"]
