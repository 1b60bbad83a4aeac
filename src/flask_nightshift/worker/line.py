"""The line: jobs that a worker has taken ahead and that no child has taken yet.

If no child takes one for ``AHEAD`` seconds, all go back to their queue, uncounted and in order: another worker may have
a child that is free. So a wrong guess of ``domain/look_ahead.py`` delays a job by no more than that. RabbitMQ can only
put them behind the others, so there they go back once their queue is empty (``Broker.missed``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from time import monotonic, time
from typing import Any, Protocol

from celery.worker.state import active_requests, reserved_requests, task_ready

from ..domain.look_ahead import AHEAD, LookAhead
from ..errors import BrokerUnavailable
from ..services import Services
from ..text.lines import Line as LogLine
from .pools import pool_of

logger = logging.getLogger(__name__)

TRY_AGAIN_AFTER = 0.5
"""Seconds until another try to return jobs, if the broker did not answer."""
STALLED = 1.0
"""Seconds after which a worker whose children seem stuck takes jobs again; a child may have been replaced meanwhile."""
EACH = 4
"""Jobs that a worker with many children may hold for each, if its broker limits what it holds."""
GATHER = 0.03
"""Seconds for which jobs wait for those that the pool gives back, so that all go back in their order."""
ADJUST_EVERY = 0.02
"""Seconds between two changes of what a broker sends by itself."""


class Owner(Protocol):
    """The part of the worker's consumer that the line uses."""

    controller: Any
    hub: Any
    pool: Any
    task_consumer: Any
    timer: Any
    task_buckets: Any
    services: Services

    @property
    def holds_suspect(self) -> bool:
        """Whether it holds a job that may have killed a worker."""

    def pause_suspects(self) -> None:
        """Take no job that may have killed a worker until ``resume_suspects``."""

    def resume_suspects(self) -> None:
        """Take such jobs again."""

    def job_has_ended(self) -> None:
        """A job that blocked the event loop has ended, and is not acknowledged yet."""

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """Have the event loop, or a greenlet, make the call in a moment."""


class Line:
    """The jobs of one worker that wait for a child: in Celery's semaphore, and in the pool's queue."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._stirred_at = monotonic()
        self._watched = False
        self._leaving: list[Any] = []
        self._closed = self._crashed = False
        self._look_ahead, self._by_time, self._blocks = LookAhead(), False, False
        self._stalled_at = -STALLED
        self._adjusts = self._adjusting = False
        self._adjusted_at = 0.0
        self.stalled = False
        """Whether no child has taken what waits, and none has begun or ended a job since."""

    # -- how many there may be -----------------------------------------------------------------------------

    def look_ahead_by_time(self) -> bool:
        """At a new connection: whether what the worker holds is bounded by time; else by Celery's prefetch count.

        Celery's autoscaler counts what the worker holds to see whether it needs more children.
        """
        owner = self._owner
        can = owner.services.broker.capabilities
        returns = can.most_ahead > 0 and getattr(owner.pool, "takes_back", False)
        # without a loop that turns while jobs run, nobody could tell such a broker to send less
        self._blocks = pool_of(type(owner.pool)).blocks_loop
        turns = owner.hub is not None and not self._blocks
        scales = owner.controller.autoscaler is not None
        self._by_time = (
            returns
            and (turns or not can.fixes_prefetch)
            and not scales
            and owner.controller.looks_ahead_by_time
        )
        self._adjusts, self._adjusting = self._by_time and can.fixes_prefetch, False
        return self._by_time

    def window(self) -> int:
        """How many jobs the worker may hold now."""
        busy = _busy()
        children = self._children
        if self.stalled and busy and monotonic() - self._stalled_at < STALLED:
            return busy
        if self._owner.holds_suspect:
            return children
        most = max(self._owner.services.broker.capabilities.most_ahead, EACH * children)
        return min(self._look_ahead.window(children, busy), most)

    @property
    def _children(self) -> int:
        return int(self._owner.pool.num_processes or 1)

    def adjust_soon(self) -> None:
        """Have the broker send as much as the window says; a broker that asks for the window needs no such thing."""
        if self._adjusts and not self._adjusting:
            self._adjusting = True
            self._owner.soon(self._adjust_in_time)

    def _adjust_in_time(self) -> None:
        wait = self._adjusted_at + ADJUST_EVERY - monotonic()
        if wait > 0:
            self._later(wait, self._adjust)
        else:
            self._adjust()

    def _adjust(self) -> None:
        self._adjusting, self._adjusted_at = False, monotonic()
        consumer = self._owner.task_consumer
        if self._adjusts and consumer is not None and consumer.channel is not None:
            if not self.stalled or _busy() < self._children:
                self._owner.resume_suspects()
            self._owner.services.broker.adjust_intake(
                consumer.channel, children=self._children, window=self.window(), held=len(reserved_requests)
            )

    # -- what happens --------------------------------------------------------------------------------------

    def arrived(self, message: Any) -> None:
        """A job has arrived, and may have to wait."""
        task = message.headers.get("task")
        if task is not None and self._by_time:
            limited = self._owner.task_buckets.get(task) is not None
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
        if self._by_time:
            self._look_ahead.ended(task, seconds)
            self.stir()
            self.adjust_soon()
        elif self._blocks:
            self._owner.job_has_ended()

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
            self._stirred_at = max(self._stirred_at, monotonic() - AHEAD / 2)
            self._look_in(AHEAD)

    def _look_in(self, seconds: float) -> None:
        self._watched = True
        self._later(seconds, self._look)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """Make the call in the event loop; one that a timer calls soon would come after the loop's next event."""
        if self._owner.hub is not None:
            self._owner.timer.call_after(seconds, call)
        else:
            self._owner.timer.call_after(seconds, self._owner.soon, (call,))

    def _look(self) -> None:
        self._watched = False
        in_pool = getattr(self._owner.pool, "unstarted", 0)
        if not (self.waiting or in_pool):
            return
        now = monotonic()
        left = self._stirred_at + AHEAD - now
        if left > 0:
            self._look_in(max(left, 0.01))
            return
        self.stalled, self._stalled_at = True, now
        self._owner.pause_suspects()
        self._adjust()
        self._give_up()

    def _give_up(self) -> None:
        """Return what another worker may run now; look at the rest again."""
        unstarted = _unstarted()
        try:
            missed = set(map(id, self._owner.services.broker.missed([each.message for each in unstarted])))
        except BrokerUnavailable:
            missed = set()
        if len(missed) < len(unstarted):
            self._look_in(AHEAD)
        self._take_back([each for each in unstarted if id(each.message) in missed])

    def withdraw(self, queues: Set[str]) -> None:
        """No job of ``queues`` may begin here: return what the broker takes back uncounted."""
        if queues and self._owner.services.broker.capabilities.most_ahead > 0:
            self._take_back([each for each in _unstarted() if each.queue in queues])
            self.leave(self._limited(lambda each: each.queue in queues))

    def _take_back(self, requests: list[Any]) -> None:
        """Return those of the ``requests`` that no child has begun."""
        wanted = set(map(id, requests))
        in_pool = getattr(self._owner.pool, "unstarted", 0)
        leaving = [args[0] for _, args, _ in self.waiting if id(args[0]) in wanted]
        if leaving:
            kept = [entry for entry in self.waiting if id(entry[1][0]) not in wanted]
            self.waiting.clear()
            self.waiting.extend(kept)
            self.leave(leaving, GATHER if in_pool else 0.0)
        if in_pool:
            self._owner.pool.take_back_unstarted({each.id for each in requests})

    def _limited(self, which: Callable[[Any], bool]) -> list[Any]:
        """The jobs for which ``which`` is true that wait for the rate limits of their tasks, which they leave."""
        found = []
        for bucket in filter(None, self._owner.task_buckets.values()):
            entries = list(bucket.contents)
            leaving = [entry for entry in entries if which(entry[0])]
            if leaving:
                bucket.contents.clear()
                bucket.contents.extend(entry for entry in entries if entry not in leaving)
                found += [request for request, _ in leaving]
        return found

    def pull(self, which: Callable[[Any], bool]) -> list[Any]:
        """Take the requests for which ``which`` is true out of the semaphore and the rate limits.

        The caller settles them.
        """
        found = [args[0] for _, args, _ in self.waiting if which(args[0])]
        if found:
            kept = [entry for entry in self.waiting if entry[1][0] not in found]
            self.waiting.clear()
            self.waiting.extend(kept)
        return found + self._limited(which)

    def _leave_semaphore(self) -> None:
        waiting = [args[0] for _, args, _ in self.waiting]
        if waiting:
            self.waiting.clear()
            self.leave(waiting)

    def leave(self, requests: list[Any], after: float = 0.0) -> None:
        """``requests`` (``JobRequest``) have not begun and do not begin here: return them soon, in one step.

        ``after``: seconds for which to wait for others.
        """
        for request in requests:
            task_ready(request)
            request.settled = True
        if not self._leaving and requests:
            if after:
                self._later(after, self._return)
            else:
                self._owner.soon(self._return)
        self._leaving += requests
        if self._closed:
            self._return()

    def close(self) -> None:
        """The worker stops, and its event loop turns no more: what has not begun goes back at once."""
        self._closed = True
        self._leave_semaphore()
        self._return()

    def crash(self) -> None:
        """The worker ends by an error that a job may have caused: its jobs go back with its lease, counted."""
        self._crashed = True

    def _return(self) -> None:
        requests, self._leaving = self._leaving, []
        if not requests or self._crashed:
            return
        messages = [
            each.message for each in requests if not each.acknowledged and each.message.channel.connection
        ]
        try:
            self._owner.services.broker.return_unstarted(messages)
            self.adjust_soon()
        except BrokerUnavailable as exc:
            text = f"jobs that no child has taken could not be returned to their queue: {exc}"
            logger.warning(LogLine("job.not_returned", text, jobs=len(messages)))
            self._leaving = requests + self._leaving
            self._owner.timer.call_after(TRY_AGAIN_AFTER, self._owner.soon, (self._return,))


def _unstarted() -> list[Any]:
    return [each for each in tuple(reserved_requests) if each.time_start is None]


def _busy() -> int:
    """How many jobs have run for longer than ``AHEAD``."""
    began = time() - AHEAD
    while True:
        try:
            return sum(each.time_start is not None and each.time_start < began for each in active_requests)
        except RuntimeError:  # meanwhile a thread of the pool began or ended one
            continue


__all__ = ["Line"]
