"""Cancel jobs wherever they are: in an outbox, delayed, ready, in a worker's hands, running.

A tombstone comes first, so whoever meets the job from then on drops it. What can be removed cheaply is removed, and its
tombstone too. Anything else ends when a worker meets it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from .. import journal
from ..domain.job import FINISHED, JobState, utcnow
from ..domain.pools import POOLS
from ..domain.tombstones import MOST
from ..errors import DatabaseUnavailable, JobEnded, JobNotFound, Unsupported
from ..journal import Target, Unfinished
from ..outbox import cancelling as outbox
from ..services import Services
from ..store import heartbeats
from ..text import patterns
from . import ids
from .delayed import Known
from .dropping import drop

CHUNK = 500
"""Jobs whose tombstones are placed at once."""
UNRECORDED = "the history does not know it: if no queue has it, there was nothing to cancel"
WHOLE_ID = 32
"""Characters of an id that is taken as it is while the history cannot be asked."""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What was done about a job. ``removed``: it is out of its queue or outbox, and has ended.

    Otherwise workers were told: ``worker`` runs it (None: no worker is known to), and ``kill`` says that it was told to
    kill it. ``notes`` say what could not be done.
    """

    job_id: str
    task: str
    queue: str
    removed: bool
    worker: str | None = None
    kill: bool = False
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "job_id": self.job_id,
            "task": self.task or None,
            "queue": self.queue or None,
            "removed": self.removed,
            "worker": self.worker,
            "kill": self.kill,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Cancellations:
    """What was done about the jobs of a filter; ``left`` were not looked at."""

    removed: int
    told: int
    left: int = 0
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"removed": self.removed, "told": self.told, "left": self.left, "notes": list(self.notes)}


class Busy(NamedTuple):
    """Who runs a job, and in which pool."""

    worker: str
    pool: str


def matching(services: Services, wanted: Unfinished) -> list[Target]:
    """The unfinished jobs that meet ``wanted``, at most ``MOST``; raises ``DatabaseUnavailable``."""
    found = {target.job_id: target for target in journal.unfinished(services.store, wanted, MOST)}
    if wanted.state in (None, JobState.QUEUED):
        in_outbox = outbox.Wanted(_exactly(wanted.task), _exactly(wanted.queue), wanted.before)
        for store in services.outboxes:
            for job_id, task, queue in outbox.waiting(store, in_outbox, MOST):
                found.setdefault(job_id, Target(job_id, task, queue, JobState.QUEUED))
    return list(found.values())[:MOST]


def _exactly(name: str | None) -> str | None:
    return None if name is None else patterns.exactly(name)


def cancel(services: Services, given: str, *, kill: bool = False, by: str) -> Cancellation:
    """Cancel the job that ``given`` means: an id, its start or its end. ``by`` names who does it.

    ``kill``: if it runs, its child process is killed. Raises ``JobNotFound``; ``JobEnded``; ``Unsupported`` if it runs
    in a pool that cannot kill; ``BrokerUnavailable`` and ``DatabaseUnavailable``, which say what was not done.
    """
    target, notes = _target(services, given)
    holder = busy_workers(services, [target]).get(target.job_id)
    if kill:
        _refuse_to_kill(target, holder)
    done = drop(services, [target], kill=kill, by=by)
    if holder is not None or target.job_id in done.removed:
        notes = tuple(note for note in notes if note != UNRECORDED)  # it is somewhere
    return Cancellation(
        target.job_id,
        target.task,
        target.queue,
        target.job_id in done.removed,
        None if holder is None else holder.worker,
        kill,
        (*notes, *done.notes),
    )


def cancel_all(
    services: Services,
    targets: Sequence[Target],
    *,
    kill: bool = False,
    by: str,
    progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
    stopped: Callable[[], bool] = lambda: False,
) -> Cancellations:
    """Cancel ``targets``, in portions; ``stopped()`` is asked before each.

    Raises as ``cancel``; the error says how many were cancelled before.
    """
    noted = services.orders.count_tombstones()
    if noted + len(targets) > MOST:
        raise Unsupported(
            f"Workers have not met {noted} cancelled jobs yet, and they remember {MOST} at most: cancel "
            f"{MOST - noted} jobs now, and the others when workers have gone on."
        )
    busy = busy_workers(services, targets) if kill else {}
    for target in targets if kill else ():
        _refuse_to_kill(target, busy.get(target.job_id))
    removed = told = 0
    notes: dict[str, None] = {}
    for at in range(0, len(targets), CHUNK):
        if stopped():
            return Cancellations(removed, told, len(targets) - at, tuple(notes))
        some = targets[at : at + CHUNK]
        done = drop(services, some, kill=kill, by=by, before=removed + told)
        removed += len(done.removed)
        told += len(some) - len(done.removed)
        notes |= dict.fromkeys(done.notes)
        progress(at + len(some), len(targets))
    return Cancellations(removed, told, 0, tuple(notes))


def cancel_some(
    services: Services, job_ids: Sequence[str], known: Iterable[Known] = (), *, by: str
) -> Cancellations:
    """Cancel the jobs with these ids, as ``cancel_all``; ``known``: where they were seen.

    ``left`` counts those that have ended, or that are in no place. Raises as ``cancel``.
    """
    targets = {each.job_id: each for each in journal.targets(services.store, job_ids)}
    for each in known:
        if each.job_id in job_ids and each.job_id not in targets:
            targets[each.job_id] = Target(each.job_id, "", each.queue, JobState.UNKNOWN, each.due)
    for job_id in job_ids:
        if job_id not in targets:
            with contextlib.suppress(JobNotFound):
                targets[job_id] = _unrecorded(services, job_id)
    going_on = [each for each in targets.values() if each.state not in FINISHED]
    done = cancel_all(services, going_on, by=by)
    return replace(done, left=len(job_ids) - len(going_on))


# -- which jobs ------------------------------------------------------------------------------------------------------


def _target(services: Services, given: str) -> tuple[Target, tuple[str, ...]]:
    """The unfinished job that ``given`` means, and what could not be found out about it."""
    try:
        job_id = ids.job_id(services.store, given)
        record = journal.find_job(services.store, job_id)
    except JobNotFound:
        found = _unrecorded(services, given)
        return found, () if found.queue else (UNRECORDED,)
    except DatabaseUnavailable as exc:
        if len(given) < WHOLE_ID:
            exc.add_note("Give the whole id of the job: parts of ids are looked up in the history.")
            raise
        return Target(given, "", "", JobState.UNKNOWN), (f"the history was not asked: {exc}",)
    if record is None:
        raise JobNotFound(f"the job {job_id} was forgotten at this moment")
    if record.state in FINISHED:
        raise JobEnded(_ended(record.id, record.state))
    return Target(record.id, record.task, record.queue, record.state, record.due_at, record.worker), ()


def _unrecorded(services: Services, given: str) -> Target:
    """A job that the history does not know (yet): it may wait in an outbox, or be delayed."""
    for store in services.outboxes:
        found = ids.waiting_ids(store, given)
        if found:
            job_id = ids.only("job", given, [row.job_id for row in found], "it waits in the outbox")
            row = next(row for row in found if row.job_id == job_id)
            return Target(row.job_id, row.task, row.queue, JobState.QUEUED)
    hold = services.broker.delayed_jobs()
    if hold is not None:
        job_id = ids.delayed_id(hold, services.queues(), given)
        if job_id != given or len(given) >= WHOLE_ID:
            return Target(job_id, "", "", JobState.UNKNOWN)
    elif len(given) >= WHOLE_ID:
        return Target(given, "", "", JobState.UNKNOWN)
    raise JobNotFound(f"there is no job {given!r} in the history, an outbox, or among the delayed jobs")


def _ended(job_id: str, state: JobState) -> str:
    if state is JobState.DEAD:
        return f"{job_id} is dead, so there is nothing to cancel: `flask jobs dead discard` puts its dead letter away"
    if state is JobState.CANCELLED:
        return f"{job_id} is cancelled already"
    verb = "was" if state is JobState.SKIPPED else "has"
    return f"{job_id} has ended, so there is nothing to cancel: it {verb} {state}"


def busy_workers(services: Services, targets: Iterable[Target] = ()) -> dict[str, Busy]:
    """The running jobs, as healthy workers report them; empty if the database does not answer.

    Workers report every few seconds. Of ``targets`` the history says earlier that they run.
    """
    try:
        rows = heartbeats.workers(services.store, utcnow())
    except DatabaseUnavailable:
        return {}
    healthy = {row.name: Busy(row.name, row.pool) for row in rows if row.healthy}
    told = {
        target.job_id: healthy[target.worker]
        for target in targets
        if target.state == JobState.RUNNING and target.worker in healthy
    }
    return told | {str(job.get("job_id")): Busy(row.name, row.pool) for row in rows for job in row.busy}


def _refuse_to_kill(target: Target, busy: Busy | None) -> None:
    if why := cannot_kill(busy):
        raise Unsupported(
            f"{target.job_id} cannot be killed: {why}. Without --kill it stops when it calls "
            "jobs.current.check_cancelled()."
        )


def cannot_kill(busy: Busy | None) -> str:
    """Why the job that ``busy`` runs cannot be killed; empty if it can, or does not run."""
    if busy is None or (busy.pool in POOLS and POOLS[busy.pool].forks):
        return ""
    return f"{busy.worker} runs it in pool {busy.pool}, where a job cannot be killed, only in pool prefork"


__all__ = [
    "MOST",
    "Cancellation",
    "Cancellations",
    "Target",
    "Unfinished",
    "busy_workers",
    "cancel",
    "cancel_all",
    "cancel_some",
    "cannot_kill",
    "matching",
]
