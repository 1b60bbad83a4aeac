"""Dead letters back to work, or away.

A replay publishes first and marks the row after, one letter at a time: a crash between the two leaves one
letter that could be replayed twice, and none that is lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sqlalchemy import select, update

from ..brokers.base import Broker
from ..errors import BrokerUnavailable, DatabaseUnavailable, DeadLetterNotFound
from ..job import DeadLetter, Reason, utcnow
from ..journal import record_replayed
from ..message import ref, revived
from ..store import Store
from ..store.tables import dead_letters as table
from .letters import ArchivedLetter, Filters, Status, find

_NOT_A_JOB = (Reason.UNDECODABLE, Reason.INVALID)

logger = logging.getLogger("flask_nightshift.dead_letters")


@dataclass(frozen=True, slots=True)
class Result:
    """What was done, or with ``dry_run`` would be: ids of dead letters, and why others were skipped by id."""

    ids: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False


def replay(
    store: Store,
    broker: Broker,
    filters: Filters,
    *,
    limit: int | None = None,
    rate: float | None = None,
    dry_run: bool = False,
    force: bool = False,
    queue: str | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Result:
    """Publish dead letters again as the jobs they were, oldest death first: same id, fresh attempts.

    Without ``filters.ids`` only letters that wait are taken; ``limit`` bounds how many are looked at,
    ``rate`` how many are published per second. A letter that is no job, or was discarded, is skipped unless
    ``force``; one that was replayed is always skipped. ``queue`` sends them there, not where they came from.

    Raises ``BrokerUnavailable`` or ``DatabaseUnavailable`` with a note of how many were replayed before.
    """
    ids, skipped = _select(store, filters, limit)
    done: list[str] = []
    try:
        for letter_id in ids:
            archived = _again(store, letter_id)
            why = _refusal(archived, force=force, queue=queue)
            if archived is None or why:
                skipped[letter_id] = why
                continue
            if done and rate and not dry_run:
                sleep(1 / rate)
            if not dry_run:
                _replay_one(store, broker, archived.letter, queue or archived.letter.queue)
            done.append(letter_id)
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        exc.add_note(f"{len(done)} of {len(ids)} dead letters had been replayed before.")
        raise
    return Result(tuple(done), skipped, dry_run)


def discard(store: Store, filters: Filters, *, limit: int | None = None, dry_run: bool = False) -> Result:
    """Put dead letters away that wait; they stay in the table until they are pruned.

    Raises ``DatabaseUnavailable``.
    """
    ids, skipped = _select(store, filters, limit)
    done: list[str] = []
    for letter_id in ids:
        archived = _again(store, letter_id)
        if archived is None or archived.status is not Status.WAITING:
            skipped[letter_id] = _refusal(archived, force=False, queue=None)
            continue
        if not dry_run and not _mark(store, archived.letter, Status.DISCARDED):
            skipped[letter_id] = "someone else was faster"
            continue
        done.append(letter_id)
    return Result(tuple(done), skipped, dry_run)


def _select(store: Store, filters: Filters, limit: int | None) -> tuple[list[str], dict[str, str]]:
    """The ids to look at, oldest death first, and those that were asked for and are not there."""
    wanted = replace(filters, status=None if filters.ids is not None else Status.WAITING)
    query = select(table.c.id).where(*wanted.conditions()).order_by(table.c.at, table.c.id).limit(limit)
    with store.read() as connection:
        found = list(connection.execute(query).scalars())
        there = set(connection.execute(select(table.c.id).where(table.c.id.in_(filters.ids or ()))).scalars())
    missing = [letter_id for letter_id in filters.ids or () if letter_id not in there]
    return found, dict.fromkeys(missing, "there is no such dead letter")


def _again(store: Store, letter_id: str) -> ArchivedLetter | None:
    """The letter as it stands now: someone else may have been faster, or it may have been pruned."""
    try:
        return find(store, letter_id)
    except DeadLetterNotFound:
        return None


def _refusal(archived: ArchivedLetter | None, *, force: bool, queue: str | None) -> str:
    """Why a letter is not replayed; empty if it is."""
    if archived is None:
        return "there is no such dead letter"
    letter = archived.letter
    if archived.status is Status.REPLAYED:
        return f"already replayed at {archived.status_at:%Y-%m-%d %H:%M:%S} UTC"
    if not (letter.queue or queue):
        return "nobody knows which queue it came from: name one"
    if force:
        return ""
    if archived.status is Status.DISCARDED:
        return f"discarded at {archived.status_at:%Y-%m-%d %H:%M:%S} UTC"
    if letter.reason in _NOT_A_JOB or not letter.job_id or not letter.task:
        return f"its message is not a job ({letter.reason}) and would only die again"
    return ""


def _replay_one(store: Store, broker: Broker, letter: DeadLetter, queue: str) -> None:
    broker.publish(revived(letter), queue)
    try:
        _mark(store, letter, Status.REPLAYED, queue)
    except DatabaseUnavailable as exc:
        exc.add_note(f"{letter.id} was published but could not be marked: do not replay it again.")
        raise
    extra = {"letter_id": letter.id, "job_id": letter.job_id, "task": letter.task, "queue": queue}
    logger.info("dead_letters.replayed", extra=extra)


def _mark(store: Store, letter: DeadLetter, status: Status, queue: str = "") -> bool:
    """Set the status of a letter; False if a discard came too late. A replay has happened: always set."""
    now = utcnow()
    statement = update(table).where(table.c.id == letter.id).values(status=status, status_at=now)
    if status is Status.DISCARDED:
        statement = statement.where(table.c.status == Status.WAITING)
    with store.begin() as connection:
        changed = connection.execute(statement).rowcount
        if status is Status.REPLAYED and letter.job_id:
            record_replayed(connection, ref(letter.headers, queue), now)
    return bool(changed)


__all__ = ["Result", "discard", "replay"]
