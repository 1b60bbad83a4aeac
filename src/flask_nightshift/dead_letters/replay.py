"""Replay or discard dead letters.

A replay takes one letter at a time: it claims the letter, publishes its job, and marks the letter (see ``claims.py``).
If it ends in between, at most one letter is in doubt (it may have been published or not), and the error names it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, update

from ..brokers.base import Publisher
from ..brokers.locks import Locks
from ..domain.job import DeadLetter, Reason, utcnow
from ..errors import BrokerUnavailable, DatabaseUnavailable, DeadLetterNotFound
from ..message.burial import revived
from ..message.unique import Holders
from ..options.publish import UnencodableHeader
from ..store import Store
from ..store.tables import dead_letters as table
from ..store.types import TOO_DEEP
from ..unique import publish
from .claims import Claims, take_back
from .letters import ArchivedLetter, Filters, Status, find

_NOT_A_JOB = (Reason.UNDECODABLE, Reason.INVALID)

logger = logging.getLogger("flask_nightshift.dead_letters")


@dataclass(frozen=True, slots=True)
class Result:
    """The ids of the dead letters that were (with ``dry_run``: would be) replayed or discarded.

    ``skipped`` gives the reason for each skipped id. ``queues`` received the replayed jobs. ``left`` is the number of
    letters that were not looked at because the caller stopped.
    """

    ids: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False
    queues: frozenset[str] = frozenset()
    left: int = 0

    def as_dict(self) -> dict[str, Any]:
        """All but ``queues``, in plain JSON types."""
        return {
            "ids": list(self.ids),
            "skipped": self.skipped,
            "dry_run": self.dry_run,
            "left": self.left,
        }


class Changed(NamedTuple):
    """A letter with changed arguments, and these as ``texts`` for people: positional and keyword, in JSON."""

    letter: DeadLetter
    texts: tuple[str, str]


def replay(
    store: Store,
    broker: Publisher,
    filters: Filters,
    *,
    limit: int | None = None,
    rate: float | None = None,
    dry_run: bool = False,
    force: bool = False,
    queue: str | None = None,
    locks: Locks | None = None,
    changed: Changed | None = None,
    recorded: bool = True,
    noted: Callable[[Connection], object] = lambda connection: None,  # noqa: ARG005
    sleep: Callable[[float], object] = time.sleep,
    progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
    stopped: Callable[[], bool] = lambda: False,
) -> Result:
    """Publish the jobs of dead letters again, oldest death first, with the same ids and fresh attempts.

    Without ``filters.ids``, only letters that wait are replayed. ``limit`` is the maximum number of letters to look at,
    ``rate`` the maximum number of jobs to publish per second. A letter that is not a job, or was discarded, is skipped
    unless ``force``. A letter that was replayed, or that another replay has claimed, is always skipped; so is one of a
    unique job whose lock another job holds (``locks``). ``queue`` replaces the queue that a job came from.
    ``recorded``: the history has jobs. ``changed`` is the one letter of ``filters.ids`` with other arguments. ``noted``
    is called in each transaction that marks a letter as replayed.

    After each letter, ``progress`` is called with the numbers of finished and of all letters. Before each letter,
    ``stopped()`` decides whether to end; ``sleep`` should return early then.

    Raises ``BrokerUnavailable`` or ``DatabaseUnavailable``, with a note that says what was done before.
    """
    take_back(store)
    ids, skipped = _select(store, filters, limit)
    work = _Replay(Claims(store, recorded=recorded, noted=noted), broker, locks, force, queue, sleep, changed)
    done: list[str] = []
    queues: set[str] = set()
    looked_at = 0
    try:
        for letter_id in ids:
            if done and rate and not dry_run:
                sleep(1 / rate)
            if stopped():
                break
            target, why = _would(store, letter_id, force, queue) if dry_run else work.replay(store, letter_id)
            if why:
                skipped[letter_id] = why
            else:
                done.append(letter_id)
                queues.add(target)
            looked_at += 1
            progress(looked_at, len(ids))
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        exc.acted_on = len(done)
        exc.add_note(f"{len(done)} of {len(ids)} dead letters had been replayed before.")
        raise
    return Result(tuple(done), skipped, dry_run, frozenset(queues), len(ids) - looked_at)


@dataclass(frozen=True, slots=True)
class _Replay:
    """The options of one replay, which are the same for each letter."""

    claims: Claims
    broker: Publisher
    locks: Locks | None
    force: bool
    queue: str | None
    sleep: Callable[[float], object]
    changed: Changed | None = None

    def replay(self, store: Store, letter_id: str) -> tuple[str, str]:
        """Replay one letter; returns its queue, or the reason why it was skipped."""
        among = (Status.WAITING, Status.DISCARDED) if self.force else (Status.WAITING,)
        archived = self.claims.claim(letter_id, among, self.changed.texts if self.changed else None)
        if archived is None:
            _, why = _would(store, letter_id, self.force, self.queue)
            return "", why or "someone else was faster"
        target = self.queue or archived.letter.queue
        if why := unfit(archived.letter, force=self.force, queue=self.queue):
            self.claims.release(letter_id)
            return "", why
        letter = self.changed.letter if self.changed else archived.letter
        try:
            holder = self._publish(letter, target)
        except UnencodableHeader as exc:
            return "", f"the broker does not take it: {exc}"
        if holder:
            self.claims.release(letter_id)
            return "", f"it is unique, and the job {holder} holds its lock"
        self._mark(letter, target)
        return target, ""

    def _publish(self, letter: DeadLetter, target: str) -> str:
        """Publish the job; returns '' or, if another job holds its lock, that job's id."""
        held: Holders = {}
        try:
            if not self.claims.holds:
                raise DatabaseUnavailable(f"claiming dead letter {letter.id} took too long")
            job = revived(letter)
            if self.locks is None:
                self.broker.publish(job, target)
            else:
                for _ in publish(self.broker, self.locks, [job], target, None, held):
                    pass
        except Exception as exc:
            self._give_up(letter, exc)
            raise
        return next(iter(held.values()), "")

    def _give_up(self, letter: DeadLetter, exc: BaseException) -> None:
        try:
            self.claims.release(letter.id)
        except DatabaseUnavailable:
            exc.add_note(
                f"Dead letter {letter.id} shows as 'replaying' and waits again within a minute or two."
            )

    def _mark(self, letter: DeadLetter, target: str) -> None:
        try:
            self.claims.published(letter, target, self.sleep, changed=self.changed is not None)
        except DatabaseUnavailable as exc:
            exc.add_note(
                f"Dead letter {letter.id} (job {letter.job_id}) was published to {target!r} and will run, but could "
                "not be marked. A second try is safe: it skips this letter while it shows as 'replaying', and the "
                "letter becomes 'replayed' when its job starts. If no worker starts it within a minute, it waits again."
            )
            raise
        extra = {"letter_id": letter.id, "job_id": letter.job_id, "task": letter.task, "queue": target}
        logger.info("dead_letters.replayed", extra=extra)


def discard(store: Store, filters: Filters, *, limit: int | None = None, dry_run: bool = False) -> Result:
    """Discard dead letters that wait; they stay in the table until they are pruned.

    Raises ``DatabaseUnavailable``, with a note that says what was done before.
    """
    take_back(store)
    ids, skipped = _select(store, filters, limit)
    done: list[str] = []
    try:
        for letter_id in ids:
            if (not dry_run and _put_away(store, letter_id)) or (dry_run and _waits(store, letter_id)):
                done.append(letter_id)
            else:
                skipped[letter_id] = _status_refusal(_again(store, letter_id), force=False)
    except DatabaseUnavailable as exc:
        exc.acted_on = len(done)
        exc.add_note(f"{len(done)} of {len(ids)} dead letters had been discarded before.")
        raise
    return Result(tuple(done), skipped, dry_run)


def _put_away(store: Store, letter_id: str) -> bool:
    waiting = (table.c.id == letter_id, table.c.status == Status.WAITING)
    values = {"status": Status.DISCARDED, "status_at": utcnow()}
    with store.begin() as connection:
        return bool(connection.execute(update(table).where(*waiting).values(values)).rowcount)


def _waits(store: Store, letter_id: str) -> bool:
    archived = _again(store, letter_id)
    return archived is not None and archived.status is Status.WAITING


def _select(store: Store, filters: Filters, limit: int | None) -> tuple[list[str], dict[str, str]]:
    """The ids to look at, oldest death first; and the ids of ``filters`` that do not exist, with the reason."""
    wanted = replace(filters, status=None if filters.ids is not None else Status.WAITING)
    query = select(table.c.id).where(*wanted.conditions()).order_by(table.c.at, table.c.id).limit(limit)
    with store.read() as connection:
        found = list(connection.execute(query).scalars())
        there = set(connection.execute(select(table.c.id).where(table.c.id.in_(filters.ids or ()))).scalars())
    missing = [letter_id for letter_id in filters.ids or () if letter_id not in there]
    return found, dict.fromkeys(missing, "there is no such dead letter")


def _again(store: Store, letter_id: str) -> ArchivedLetter | None:
    """The letter as it is now: another process may have changed or pruned it."""
    try:
        return find(store, letter_id)
    except DeadLetterNotFound:
        return None


def _would(store: Store, letter_id: str, force: bool, queue: str | None) -> tuple[str, str]:
    """The queue to which a replay would send the letter, or the reason why it would skip it."""
    archived = _again(store, letter_id)
    why = _status_refusal(archived, force=force)
    if archived is None or why:
        return "", why
    return queue or archived.letter.queue, unfit(archived.letter, force=force, queue=queue)


def _status_refusal(archived: ArchivedLetter | None, *, force: bool) -> str:
    """Why a letter is skipped because of its status; empty if it is not."""
    if archived is None:
        return "there is no such dead letter"
    since = f"{archived.status_at:%Y-%m-%d %H:%M:%S} UTC"
    match archived.status:
        case Status.REPLAYED:
            return f"already replayed at {since}"
        case Status.REPLAYING:
            return (
                f"it is being replayed by {archived.claimed_by} since {since}; it waits again if that fails"
            )
        case Status.DISCARDED if not force:
            return f"discarded at {since}"
    return ""


def unfit(letter: DeadLetter, *, force: bool, queue: str | None) -> str:
    """Why a letter is skipped because of its content; empty if it is not."""
    if not (letter.queue or queue):
        return "the queue that it came from is not known: name one with --queue"
    if letter.headers == TOO_DEEP:
        return "its headers are nested too deeply to be read; the column 'headers' has them all"
    if not force and (letter.reason in _NOT_A_JOB or not letter.job_id or not letter.task):
        return f"its message is not a job ({letter.reason}) and would only die again"
    return ""


__all__ = ["Changed", "Result", "discard", "replay", "unfit"]
