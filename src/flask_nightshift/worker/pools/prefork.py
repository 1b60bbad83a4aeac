"""The pool of ``--pool prefork`` in our workers: child processes that take their jobs from one queue.

The kernel is in ``shared``; here it becomes a pool of Celery's. It has no thread of its own: the worker's event loop
turns it. It is used where the system has what it needs (Linux) and children are forked; elsewhere ``prefork`` is
Celery's own pool.
"""

from __future__ import annotations

import itertools
import logging
import math
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard.common import TERM_SIGNAL
from celery.concurrency.base import BasePool
from celery.concurrency.prefork import _run_ready_callbacks
from celery.utils.functional import noop

from . import wire
from .ahead import Ahead
from .handed import Handed
from .places import Places
from .shared import Ended, Event, Lost, Pool, Returned, SoftLimit, Started, Terms, supported
from .support import Support
from .worker_process import WorkerProcess

logger = logging.getLogger(__name__)

GIVE_BACK_WITHIN = 0.1
"""Seconds within which jobs that have not started are back after the connection was lost."""
TURN = 0.1
"""Seconds of a turn, at the most, while the pool stops."""
TERMINATE_WITHIN = 3.0
"""Seconds until killed children are dead."""


class JobPool(BasePool):
    """Celery's interface to a pool of the kernel."""

    uses_semaphore = True
    announces = True
    """Whether it takes ``announce=True``: the start of this job is to be told at once."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kernel: Pool | None = None
        self._hub: Any = None
        self._due = math.inf
        self._numbers = itertools.count(1)
        self._handed: dict[int, Handed] = {}
        self._kept: deque[Event] = deque()
        self._flushes = False
        self._places = Places(options["semaphore"])
        self._ahead, self._extra = Ahead(), 0
        self._ending = 0
        self.starts_until: Callable[[], int] | None = None
        """The moment until which jobs may start (``shared.fence``); None for no limit."""

    # -- life ----------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the children."""
        options = self.options
        app, hostname = options["initargs"]
        child = WorkerProcess(
            app, hostname, options.get("maxtasksperchild"), options.get("max_memory_per_child")
        )
        self._kernel = Pool(
            self.limit,
            child.work(),
            self._hear,
            ready_within=app.conf.worker_proc_alive_timeout or math.inf,
            trouble=lambda text: logger.error("%s", text),
        )
        self._kernel.start()

    def did_start_ok(self) -> bool:
        """Whether there are children."""
        return bool(self.kernel.processes) or not self.kernel.size

    def register_with_event_loop(self, loop: Any) -> None:
        """Have the event loop turn the pool; called with each new connection, when the loop has forgotten it."""
        self._hub = loop
        self._due = math.inf
        loop.add_reader(self.kernel.fileno(), self._turn)
        loop.call_soon(self._turn)

    def on_close(self) -> None:
        """The worker stops: what no child has started goes back."""
        if self._kernel is not None:
            self._kernel.take_all_back()

    def on_stop(self) -> None:
        """Wait for the jobs that run; acknowledgements and heartbeats go on meanwhile."""
        if self._kernel is None:
            return
        self._kernel.stop()
        self._turn_until_empty(math.inf)
        self._close()

    def on_terminate(self) -> None:
        """Kill the children."""
        if self._kernel is None:
            return
        self._kernel.kill()
        self._turn_until_empty(TERMINATE_WITHIN)
        self._close()

    def _close(self) -> None:
        if self._hub is not None and self._kernel is not None:
            with suppress(Exception):
                self._hub.remove_reader(self._kernel.fileno())
        if self._kernel is not None and not self._kernel.processes:
            self._kernel.close()
        self._kernel = None

    def _turn_until_empty(self, seconds: float) -> None:
        pool, end = self.kernel, time.monotonic() + seconds
        watch = select.poll()
        watch.register(pool.fileno(), select.POLLIN)
        while pool.processes and time.monotonic() < end:
            try:
                self._hear_what_was_kept()
                wait = pool.poll()
            except Exception:  # the broker is away; the events that follow come with the next turn
                logger.exception("an end could not be settled while the pool stops")
                wait = 0.0
            if pool.processes:
                watch.poll(1000 * min(TURN if wait is None else wait, TURN))
            self._serve_loop()
        self._serve_loop()

    def _serve_loop(self) -> None:
        """What of the event loop must go on after its end."""
        if self._hub is None:
            return
        try:
            self._hub.fire_timers()
            _run_ready_callbacks(self._hub)
        except Exception:
            logger.exception("a timer of the event loop failed while the pool stops")

    # -- the event loop ------------------------------------------------------------------------------------

    @property
    def kernel(self) -> Pool:
        """The pool behind this one, between start and stop."""
        if self._kernel is None:
            raise RuntimeError("the pool does not run")
        return self._kernel

    def _turn(self) -> None:
        if self._kernel is None:
            return
        self._move_fence()
        wait: float | None = 0.0
        try:
            self._hear_what_was_kept()
            wait = self._kernel.poll()
            self._look_ahead()
        finally:
            if wait is not None:
                self._turn_within(wait)

    def _look_ahead(self) -> None:
        """Have as many places as there are children, and some more where jobs are short."""
        more = self._ahead.jobs(self.num_processes) - self._extra
        if more and self._state == self.RUN:
            self._extra += more
            self._places.change(more)

    def _turn_within(self, seconds: float) -> None:
        at = time.monotonic() + seconds
        if at < self._due and self._hub is not None:
            self._due = at
            self._hub.call_later(seconds, self._turn_on_time)

    def _turn_on_time(self) -> None:
        self._due = math.inf
        self._turn()

    def _move_fence(self) -> None:
        if self.starts_until is not None and self._kernel is not None:
            self._kernel.fence.open_until(self.starts_until())

    def flush(self) -> None:
        """The connection is lost, and the broker delivers its messages again: drop what has not started.

        What runs stays. Celery has cleared the semaphore, so nothing of this occupies a place in it any more. What is
        not about a dropped job is heard when there is a connection again.
        """
        if self._kernel is None:
            return
        pool = self._kernel
        for handed in self._handed.values():
            handed.has_place = False
        self._places.forget()
        self._flushes = True
        pool.take_all_back()
        end = time.monotonic() + GIVE_BACK_WITHIN
        while time.monotonic() < end and not all(each.started for each in self._handed.values()):
            wait = pool.poll()
            time.sleep(min(GIVE_BACK_WITHIN if wait is None else wait, 0.002))
        self._flushes = False

    def _hear_what_was_kept(self) -> None:
        while self._kept:
            self._hear(self._kept.popleft())

    # -- jobs ----------------------------------------------------------------------------------------------

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        *,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        announce: bool = False,
        callback: Any = None,
        error_callback: Any = None,
        accept_callback: Any = None,
        timeout_callback: Any = None,
        **_: Any,
    ) -> Handed | None:
        """Hand a call to the children; None while the pool stops."""
        if self._state != self.RUN or self._kernel is None:
            return None
        soft, hard = soft_timeout or self.options.get("soft_timeout"), timeout or self.options.get("timeout")
        payload = wire.packed_call(target, args, kwargs)
        handed = Handed(
            next(self._numbers),
            self._kernel.take_back,
            soft=soft,
            hard=hard,
            callback=callback,
            error_callback=error_callback,
            accept_callback=accept_callback,
            timeout_callback=timeout_callback,
        )
        self._handed[handed.number] = handed
        self._places.take()
        self._move_fence()
        self._kernel.submit(handed.number, payload, Terms(soft, hard, announce))
        return handed

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Send a signal to the process ``pid``, if it still runs the job that it is known to run."""
        job = self.kernel.job_of(pid) if pid != self._ending else None
        if job is not None:
            signum = signal or TERM_SIGNAL
            self._handed[job].terminate(signum)
            self.kernel.terminate(job, signum)

    def _hear(self, event: Event) -> None:
        if self._flushes and not isinstance(event, Returned):
            if isinstance(event, Started):
                self._handed[event.job].started = True
            self._kept.append(event)
            return
        handed = self._handed[event.job]
        match event:
            case Started():
                handed.start(event.child, event.at)
                return
            case SoftLimit():
                handed.reach_soft_limit()
                return
        del self._handed[event.job]
        try:
            match event:
                case Ended():
                    self._ahead.ended(event.runtime)
                    self._ending = event.child  # whoever terminates the job now must not hit the next one
                    handed.end(event)
                case Lost():
                    handed.be_lost(event)
                case Returned() if handed.signum is not None:
                    handed.be_terminated()
        finally:
            self._ending = 0
            self._free_place_of(handed)

    def _free_place_of(self, handed: Handed) -> None:
        if handed.has_place:
            handed.has_place = False
            self._places.free()

    # -- its size ------------------------------------------------------------------------------------------

    @property
    def num_processes(self) -> int:
        """How many children there should be."""
        return self._kernel.size if self._kernel is not None else self.limit

    def grow(self, n: int = 1) -> None:
        """Have ``n`` more children."""
        if self._state != self.RUN:  # autoscale's timer may fire while the pool stops
            return
        self.kernel.grow(n)
        self._places.change(n)

    def shrink(self, n: int = 1) -> None:
        """Have ``n`` children less; none breaks off its job."""
        if self._state != self.RUN:
            return
        n = min(n, self.kernel.size)
        self.kernel.shrink(n)
        self._places.change(-n)

    def restart(self) -> None:
        """Replace all children, each when it has ended its job."""
        n = self.kernel.size
        self.kernel.shrink(n)
        self.kernel.grow(n)
        self.apply_async(noop)

    def _get_info(self) -> dict[str, Any]:
        pool = self._kernel
        return {
            **super()._get_info(),
            "max-concurrency": self.limit,
            "processes": list(pool.processes) if pool is not None else [],
            "max-tasks-per-child": self.options.get("maxtasksperchild") or "N/A",
            "put-guarded-by-semaphore": self.putlocks,
            "timeouts": (self.options.get("soft_timeout") or 0, self.options.get("timeout") or 0),
            "writes": {"jobs": len(pool) if pool is not None else 0},
        }


def _fits(worker: Any) -> bool:
    """Whether the worker can use it: Celery's own pool is used without an event loop, and with children not forked."""
    return bool(supported() and worker.use_eventloop and worker.pool_start_method == "fork")


def _guard(pool: Any, starts_until: Callable[[], int]) -> None:
    if isinstance(pool, JobPool):  # a user's own may extend Celery's
        pool.starts_until = starts_until


SUPPORT = Support(JobPool, fits=_fits, guard=_guard)
