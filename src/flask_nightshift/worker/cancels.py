"""Cancelled jobs: this worker drops them, stops them, or does not try them again.

It hears of tombstones from ``orders.py`` and keeps them in memory. While there are none, a job pays one look at an
empty dict. A tombstone is removed for all workers when its job has ended, whatever its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol

from celery.worker.state import requests

from ..background.loop import Backoff, Loop, Work
from ..domain.job import JobRef
from ..domain.orders import Ordered
from ..domain.tombstones import Tombstone, latest
from ..lifetime.forks import when_forked
from ..services import Services
from ..task.board import board
from ..text.lines import Line
from .pools import pool_of

MANY = 1000
"""Tombstones after which a worker looks which of them still exist."""
AFTER = 2.0
"""Seconds from the end of a cancelled job until its tombstone goes: until then its message may come again."""
KILL = "SIGKILL"

logger = logging.getLogger("flask_nightshift.worker.cancels")


class Owner(Protocol):
    """The part of the worker's consumer that is used here."""

    pool: Any
    line: Any
    services: Services

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Have the event loop, or a greenlet, make the call in a moment."""


class Cancels(Work):
    """The tombstones that one worker knows."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = Loop(self, "nightshift-cancels", Backoff(first=1.0, most=15.0), lingers=False)
        self._many = MANY
        self.known: dict[str, Tombstone] = {}
        """By the id of the job."""
        self._placed: dict[str, list[Tombstone]] = {}
        """All that were placed, because a job may be cancelled more than once."""
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: the parent removes tombstones."""
        self._ended: dict[str, float] = {}

    def of(self, job: JobRef) -> Tombstone | None:
        """The tombstone of ``job``; None if it was not cancelled."""
        found = self.known.get(job.job_id)
        return found if found is not None and found.concerns(job.enqueued_at) else None

    def has_ended(self, job: JobRef) -> None:
        """``job`` has ended, cancelled or not: its tombstone is not needed any more."""
        if self.of(job) is not None:
            board.clear(job.job_id)
            self._ended[job.job_id] = monotonic() + AFTER
            self._loop.wake(AFTER)

    # -- orders ----------------------------------------------------------------------------------------------------

    def heard(self, ordered: Ordered) -> None:
        """Tombstones were placed. It is called in the thread that asks for orders."""
        new = latest(ordered.tombstones)
        if not new:
            return
        self._learn(ordered.tombstones)
        for job_id, order in new.items():  # at once: a job may block the event loop
            request = requests.get(job_id)
            if request is not None and order.concerns(request.job.enqueued_at):
                board.show(job_id)
        self._owner.soon(self._act, new)

    def _learn(self, found: Sequence[Tombstone]) -> None:
        for each in found:
            placed = self._placed.setdefault(each.job_id, [])
            placed.append(each)
            self.known |= latest(placed)
        if len(self.known) > self._many:
            self._loop.wake()

    def _act(self, new: dict[str, Tombstone]) -> None:
        """In the event loop: settle what waits in this worker, and kill what runs and is to be killed."""
        for request in self._owner.line.pull(lambda each: each.id in new and self.of(each.job) is not None):
            request.revoked()
        mine = [(requests[job_id], order) for job_id, order in new.items() if job_id in requests]
        mine = [(request, order) for request, order in mine if order.concerns(request.job.enqueued_at)]
        if not mine:
            return
        waiting = {request.id for request, _ in mine if request.time_start is None}
        if waiting and getattr(self._owner.pool, "takes_back", False):
            self._owner.pool.take_back_unstarted(waiting)
        for request, order in mine:
            if order.kill and not request.settled:
                self._kill(request)

    def _kill(self, request: Any) -> None:
        pool = pool_of(type(self._owner.pool))
        if pool.forks:
            request.terminate(self._owner.pool, KILL)
        elif request.time_start is not None:
            text = (
                f"no job can be killed in pool {pool.name}; it runs on until it asks whether it was cancelled"
            )
            logger.warning(Line("job.not_killed", text, job_id=request.id, task=request.name, pool=pool.name))

    # -- removing tombstones ---------------------------------------------------------------------------------------

    def turn(self) -> float | None:
        """Remove the tombstones of jobs that have ended."""
        now = monotonic()
        ended = [job_id for job_id, due in tuple(self._ended.items()) if due <= now]
        gone = {job_id: tuple(self._placed.get(job_id, ())) for job_id in ended}
        if gone:
            self._owner.services.orders.remove_tombstones([each for some in gone.values() for each in some])
        for job_id, some in gone.items():
            self._ended.pop(job_id, None)
            if len(self._placed.get(job_id, ())) == len(some):  # else it was cancelled again
                self._forget(job_id)
        self._forget_removed()
        return max(0.01, min(self._ended.values()) - monotonic()) if self._ended else None

    def _forget_removed(self) -> None:
        """With many tombstones: forget those that other workers have removed."""
        if len(self.known) > self._many:
            known = tuple(self.known)
            still = {each.job_id for each in self._owner.services.orders.tombstones()}
            for job_id in known:
                if job_id not in still:
                    self._forget(job_id)
            self._many = max(MANY, 2 * len(self.known))

    def _forget(self, job_id: str) -> None:
        self.known.pop(job_id, None)
        self._placed.pop(job_id, None)

    def failed(self) -> None:
        """They end by themselves."""
        self._ended.clear()
        logger.exception("orders.not_removed")

    def stop(self) -> None:
        """The worker ends: remove what is left, at once."""
        self._ended = dict.fromkeys(self._ended, 0.0)
        self._loop.stop(finish=True)


__all__ = ["Cancels"]
