"""The locks of unique jobs, with what the history knows of the jobs that hold them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..brokers.values import HeldLock
from ..domain.job import FINISHED
from ..errors import DatabaseUnavailable
from ..journal.states import states
from ..services import Services


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock, and the state of its job; None if the history does not know it.

    ``stale``: the history says that the job has ended, so the lock ends with its time only, unless the history errs.
    """

    held: HeldLock
    state: str | None = None

    @property
    def stale(self) -> bool:
        """Whether the job has ended."""
        return self.state in FINISHED


@dataclass(frozen=True, slots=True)
class Locks:
    """Some locks by key; ``more``: there are more."""

    rows: list[Lock] = field(default_factory=list)
    more: bool = False


def seen(services: Services, limit: int, after: str = "") -> Locks:
    """Up to ``limit`` locks after the key ``after``.

    Raises ``BrokerUnavailable``, or ``DatabaseUnavailable`` where the database holds them.
    """
    held = services.locks.held(limit + 1, after)
    shown = held[:limit]
    try:
        known = states(services.store, [lock.job_id for lock in shown])
    except DatabaseUnavailable:
        known = {}
    found = [Lock(lock, str(known[lock.job_id].state) if lock.job_id in known else None) for lock in shown]
    return Locks(found, more=len(held) > limit)


__all__ = ["Lock", "Locks", "seen"]
