"""The steps by which jobs are cancelled: tombstones, outboxes, queues, and telling of jobs that are out of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..brokers.values import TakenInPart
from ..domain.events import JobCancelled
from ..domain.job import JobState, utcnow
from ..domain.tombstones import Tombstone, tombstone
from ..errors import BrokerUnavailable, DatabaseUnavailable, NightshiftError
from ..journal import Target
from ..message.headers import ref
from ..outbox import cancelling as outbox
from ..services import Services
from ..store import ledger
from ..text.counts import plural
from . import orders

ANNOUNCE_SECONDS = 10.0
"""Seconds for which the result backend is told of jobs that were removed."""

logger = logging.getLogger("flask_nightshift.operations")


class Done(NamedTuple):
    """``removed``: the ids of jobs that are out of their queues. ``notes`` say what could not be done."""

    removed: frozenset[str]
    notes: tuple[str, ...]


def drop(
    services: Services,
    targets: Sequence[Target],
    *,
    kill: bool,
    by: str,
    claimed_by: str | None = None,
    before: int = 0,
) -> Done:
    """Cancel ``targets``; ``claimed_by``: the name under which their rows of an outbox are claimed.

    Raises ``BrokerUnavailable`` or ``DatabaseUnavailable`` if not all could be noted; the error says how many were
    cancelled all the same, with those that the caller had cancelled ``before``.
    """
    now, job_ids = utcnow(), [target.job_id for target in targets]
    stones = {each.job_id: tombstone(each.job_id, now, each.due, kill=kill, by=by) for each in targets}
    notes: list[str] = []
    unplaced = _place(services, list(stones.values()))
    waited = _withdraw(services, job_ids, now, notes, claimed_by)
    if unplaced is not None and not (waited or {}).keys() >= stones.keys():
        withdrawn = waited or {}
        if withdrawn:
            settle(services, [(row.queue, row.envelope) for row in withdrawn.values()], f"cancelled by {by}")
        left = [job_id for job_id in job_ids if job_id not in withdrawn]
        raise _not_noted(services, unplaced, left, before + len(withdrawn))
    # without the database, a worker has to drop the job: its journal waits for the database
    taken = [] if unplaced is not None or waited is None else _take(services, targets, notes)
    removed: dict[str, tuple[str, Any]] = {job.job_id: (job.queue, job.envelope) for job in taken}
    removed |= {job_id: (row.queue, row.envelope) for job_id, row in (waited or {}).items()}
    if removed:
        settle(services, removed.values(), f"cancelled by {by}")
    _tidy(services, [stones[job.job_id] for job in taken], notes)
    if removed.keys() != stones.keys():
        orders.announce(services)
    return Done(frozenset(removed), tuple(notes))


def _place(services: Services, stones: Sequence[Tombstone]) -> NightshiftError | None:
    """Place tombstones; returns why that is impossible now."""
    try:
        services.orders.cancel(stones)
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        return exc
    return None


def _withdraw(
    services: Services,
    job_ids: Sequence[str],
    now: datetime,
    notes: list[str],
    claimed_by: str | None = None,
) -> dict[str, outbox.Withdrawn] | None:
    """Take the jobs out of the outboxes, close the rows of durable ones, and release locks in the database.

    None if the database is away.
    """
    found: dict[str, outbox.Withdrawn] = {}
    try:
        for store in services.outboxes:
            found |= outbox.withdraw(store, job_ids, now, claimed_by)
            ledger.cancelled(store, job_ids, now)
        services.locks.cancelled(job_ids)
    except DatabaseUnavailable as exc:
        notes.append(f"workers drop it in its queue, but the outbox was not looked at: {exc}")
        return None
    return found


def _take(services: Services, targets: Sequence[Target], notes: list[str]) -> list[Any]:
    """Take the jobs out of their queues, where the broker can do that."""
    waiting = services.broker.waiting_jobs()
    if waiting is None:
        return []
    delayed = services.broker.delayed_jobs()
    taken: list[Any] = []
    try:
        for queue, dues in _by_queue(services, targets).items():
            taken += waiting.take(queue, dues)
        if delayed is not None and (sought := _sought_everywhere(targets, {job.job_id for job in taken})):
            for queue, dues in _by_queue(services, sought).items():
                taken += delayed.take(queue, dict.fromkeys(dues))
    except TakenInPart as exc:
        taken += exc.taken
        notes.append(f"not all were removed from their queues, and workers drop the others there: {exc}")
    except BrokerUnavailable as exc:
        notes.append(f"nothing was removed from its queue, and workers drop it there: {exc}")
    return taken


def _by_queue(services: Services, targets: Sequence[Target]) -> dict[str, dict[str, datetime | None]]:
    found: dict[str, dict[str, datetime | None]] = {}
    for target in targets:
        for queue in (target.queue,) if target.queue else services.queues():
            found.setdefault(queue, {})[target.job_id] = target.due
    return found


def _sought_everywhere(targets: Sequence[Target], taken: Collection[str]) -> list[Target]:
    """The jobs to look for among all delayed ones: a single job, or those of which the history does not tell the time.

    Of many that the history knows, workers drop those that are not where they should be.
    """
    return [
        each
        for each in targets
        if each.job_id not in taken and (len(targets) == 1 or each.state == JobState.UNKNOWN)
    ]


def settle(services: Services, jobs: Iterable[tuple[str, Any]], why: str) -> None:
    """Tell history, result backend, chords and signals of cancelled ``jobs``: pairs of queue and message.

    None of them becomes an attempt, so no worker tells.
    """
    from ..worker import endings
    from ..worker.announcer import Announcer

    at, announcer = utcnow(), Announcer()

    def tell(request: Any, call: Callable[[], None]) -> None:
        announcer.tell(request.id, request.type, call)

    for queue, message in jobs:
        if message is None:
            continue
        job = ref(message.headers, queue)
        services.events.emit(JobCancelled(job, at, "", why))
        try:
            endings.cancelled(services.celery, message, why, tell)
        except Exception:
            logger.exception("job.untold", extra={"job_id": job.job_id, "task": job.task})
    announcer.finish(ANNOUNCE_SECONDS)
    services.journal.flush()


def _tidy(services: Services, stones: Sequence[Tombstone], notes: list[str]) -> None:
    """Remove the tombstones of jobs that are out of their queues."""
    try:
        if stones:
            services.orders.remove_tombstones(stones)
    except (BrokerUnavailable, DatabaseUnavailable) as exc:
        notes.append(f"the order to drop it stays until it ends by itself: {exc}")


def _not_noted(services: Services, why: NightshiftError, job_ids: Sequence[str], done: int) -> Exception:
    """The error for an order that could not be noted; live workers are told all the same, if the broker is there.

    ``done``: how many jobs were cancelled before.
    """
    why.acted_on = done
    said = "Nothing was cancelled."
    if done:
        said = f"{plural(done, 'job')} had been cancelled before, and {plural(len(job_ids), 'job')} or more were not."
    if isinstance(why, DatabaseUnavailable):
        try:
            services.celery.control.revoke(list(job_ids))
        except Exception:  # noqa: BLE001 - the broker is away, too
            why.add_note(said)
        else:
            if done:
                why.add_note(said)
            why.add_note(
                "The workers that run now were told, and drop the job if they meet it before they end. Nothing is "
                "noted for workers that start later: run the command again when the database is back."
            )
    else:
        why.add_note(f"{said} Run the command again when the broker is back.")
    return why


__all__ = ["Done", "drop", "settle"]
