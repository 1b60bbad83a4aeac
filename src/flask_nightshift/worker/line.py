"""The line: jobs that a worker has taken ahead and that no child has taken yet.

If no child takes one for ``AHEAD`` seconds, all go back to the head of their queue, uncounted and in order: another
worker may have a child that is free. So a wrong guess of ``domain/look_ahead.py`` delays a job by no more than that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Protocol

from celery.worker.state import active_requests, task_ready

from ..domain.look_ahead import AHEAD, LookAhead
from ..errors import BrokerUnavailable
from ..services import Services
from ..text.lines import Line as LogLine

logger = logging.getLogger(__name__)

TRY_AGAIN_AFTER = 0.5
"""Seconds until another try to return jobs, if the broker did not answer."""


class Owner(Protocol):
    """The part of the worker's consumer that the line uses."""

    controller: Any
    pool: Any
    timer: Any
    task_buckets: Any
    services: Services

    def call_soon(self, call: Callable[..., Any], *args: Any) -> Any:
        """Have the event loop make the call in its next turn."""


class Line:
    """The jobs of one worker that wait for a child: in Celery's semaphore, and in the pool's queue."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._stirred_at = monotonic()
        self._watched = False
        self._leaving: list[Any] = []
        self._look_ahead, self._by_time = LookAhead(), False
        self.stalled = False
        """Whether jobs went back, and no child has begun or ended a job since."""

    # -- how many there may be -----------------------------------------------------------------------------

    def look_ahead_by_time(self) -> bool:
        """At a new connection: whether what the worker holds is bounded by time; else by Celery's prefetch count.

        Celery's autoscaler counts what the worker holds to see whether it needs more children.
        """
        owner = self._owner
        returns = owner.services.broker.capabilities.counts_starts and hasattr(
            owner.pool, "take_back_unstarted"
        )
        scales = owner.controller.autoscaler is not None
        self._by_time = returns and not scales and owner.controller.looks_ahead_by_time
        return self._by_time

    def window(self) -> int:
        """How many jobs the worker may hold now."""
        began, busy = time() - AHEAD, 0
        for request in tuple(active_requests):
            busy += request.time_start is not None and request.time_start < began
        if self.stalled:
            return busy
        return self._look_ahead.window(self._owner.pool.num_processes or 1, busy)

    # -- what happens --------------------------------------------------------------------------------------

    def arrived(self, message: Any) -> None:
        """A job has arrived, and may have to wait."""
        task = message.headers.get("task")
        if task is not None and self._by_time:
            limited = self._owner.task_buckets[task] is not None
            self._look_ahead.arrived(task, len(message.body or ""), limited=limited)
            self._watch()

    def first(self, accept: Callable[[], Any]) -> Any:
        """Call ``accept``; a job that must then wait for a free child goes to the front: it has waited before."""
        line = self.waiting
        before = len(line)
        accepted = accept()
        if len(line) > before:
            line.rotate(1)
        return accepted

    def ended(self, task: str, seconds: float) -> None:
        """A job of ``task`` has run for so long."""
        self._look_ahead.ended(task, seconds)
        self.stir()

    @property
    def waiting(self) -> Any:
        """What waits in Celery's semaphore: tuples of a call, its arguments and options."""
        return getattr(self._owner.controller.semaphore, "_waiting", ())

    def stir(self) -> None:
        """A child has begun or ended a job."""
        self._stirred_at = monotonic()
        self.stalled = False

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._stirred_at = max(self._stirred_at, monotonic() - AHEAD / 2)
            self._look_in(AHEAD)

    def _look_in(self, seconds: float) -> None:
        self._owner.timer.call_after(seconds, self._owner.call_soon, (self._look,))

    def _look(self) -> None:
        self._watched = False
        in_pool = getattr(self._owner.pool, "unstarted", 0)
        if not (self.waiting or in_pool):
            return
        left = self._stirred_at + AHEAD - monotonic()
        if left > 0:
            self._watched = True
            self._look_in(max(left, 0.01))
            return
        self.stalled = True
        waiting = [args[0] for _, args, _ in self.waiting]
        self.waiting.clear()
        self.leave(waiting)
        if in_pool:
            self._owner.pool.take_back_unstarted()

    def leave(self, requests: list[Any]) -> None:
        """``requests`` (``JobRequest``) have not begun and do not begin here: return them soon, in one step."""
        for request in requests:
            task_ready(request)
            request.settled = True
        if not self._leaving and requests:
            self._owner.call_soon(self._return)
        self._leaving += requests

    def _return(self) -> None:
        requests, self._leaving = self._leaving, []
        messages = [
            each.message for each in requests if not each.acknowledged and each.message.channel.connection
        ]
        try:
            self._owner.services.broker.return_unstarted(messages)
        except BrokerUnavailable as exc:
            text = f"jobs that no child has taken could not be returned to their queue: {exc}"
            logger.warning(LogLine("job.not_returned", text, jobs=len(messages)))
            self._leaving = requests + self._leaving
            self._owner.timer.call_after(TRY_AGAIN_AFTER, self._owner.call_soon, (self._return,))


__all__ = ["Line"]
