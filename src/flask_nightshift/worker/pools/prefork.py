"""The pool of ``--pool prefork`` in our workers: child processes that take their jobs from one queue.

The kernel is in ``shared``; here it becomes a pool of Celery's. It has no thread of its own: the worker's event loop
turns it. It is used where the system has what it needs (Linux) and children are forked; elsewhere ``prefork`` is
Celery's own pool.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Container
from typing import Any

from billiard.common import TERM_SIGNAL
from celery.concurrency.base import BasePool
from celery.platforms import EX_FAILURE
from celery.worker import state

from ...text.lines import Line
from . import wire
from .driver import Driver
from .handed import Handed
from .hands import Hands
from .section import Section
from .shared import Pool, Terms, supported
from .support import Support
from .worker_process import WorkerProcess

logger = logging.getLogger(__name__)

GIVE_BACK_WITHIN = 0.1
"""Seconds that ``flush`` waits for jobs that have not started."""
FENCE_PAUSE = 0.005
"""Seconds between two looks at the lease while many jobs are handed out."""
TERMINATE_WITHIN = 3.0
"""Seconds until killed children are dead."""
FAILED_STARTS = 10
"""Failed starts of children in a row, a second apart, after which a worker without a child stops."""


class JobPool(BasePool):
    """Celery's interface to a pool of the kernel."""

    uses_semaphore = True
    takes_back = True
    """Whether its ``apply_async`` takes four options more.

    ``announce`` has the start of a job told at once. ``return_callback`` is called for one that was taken back before
    it started, because no child took it, or because its id or one of its ``stamps`` was revoked.
    ``success_callback(pid, at, runtime)`` is called, in place of ``callback``, for one of which nothing is to be told
    but that it succeeded; ``accept_callback`` may not have been called then.
    """
    calls_in_loop = True
    """Whether it makes these calls in the thread of the worker's event loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._kernel: Pool | None = None
        self._driver: Driver | None = None
        self._hands = Hands(self.options["semaphore"])
        self._numbers = itertools.count(1)
        self._section = Section()
        self._fence_moved_at = -math.inf
        self.starts_until: Callable[[], int] | None = None
        """The moment until which jobs may start (``shared.fence``); None for no limit."""

    @property
    def kernel(self) -> Pool:
        """The pool behind this one, between start and stop."""
        if self._kernel is None:
            raise RuntimeError("the pool does not run")
        return self._kernel

    # -- life ----------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the children."""
        app, hostname = self.options["initargs"]
        most = self.options.get("maxtasksperchild"), self.options.get("max_memory_per_child")
        self._kernel = Pool(
            self.limit,
            WorkerProcess(app, hostname, *most).work(),
            self._hands.hear,
            ready_within=app.conf.worker_proc_alive_timeout or math.inf,
            trouble=_warn,
        )
        self._driver = Driver(self._kernel, self._turn)
        self._kernel.start()

    def did_start_ok(self) -> bool:
        """Whether there are children."""
        return bool(self.kernel.processes) or not self.kernel.size

    def register_with_event_loop(self, loop: Any) -> None:
        """Have the event loop turn the pool; called with each new connection."""
        if self._driver is not None:
            self._driver.use(loop)

    def on_close(self) -> None:
        """The worker stops: jobs that no child has started go back to the broker."""
        self._section.later(self._close)

    def _close(self) -> None:
        if self._kernel is not None:
            self._hands.take_back_unstarted()
            self._kernel.take_all_back()

    def on_stop(self) -> None:
        """Wait for the jobs that run; acknowledgements and heartbeats go on meanwhile.

        Celery's cold stop calls it in a signal handler, without ``close``.
        """
        self._state = self.CLOSE
        self._section.later(self._stop)

    def _stop(self) -> None:
        if self._kernel is not None:
            self._close()
            self._kernel.stop()
            self._end(math.inf)

    def on_terminate(self) -> None:
        """Kill the children."""
        if self._kernel is not None:
            self._kernel.kill()
            self._end(TERMINATE_WITHIN)

    def _end(self, seconds: float) -> None:
        if self._driver is not None:
            self._driver.run_until_empty(seconds)
        self._driver = self._kernel = None

    def _turn(self) -> float | None:
        """Do one turn; returns the seconds until the next one is due, None if only ``fileno`` tells."""
        if self._kernel is None:
            return None
        with self._section:
            self._move_fence()
            self._hands.hear_what_was_kept()
            for number in self._hands.newly_revoked():
                self._kernel.take_back(number)
            wait = self._kernel.poll()
            if self._state == self.RUN:
                self._hands.look_ahead(self._kernel.size)
                self._mind_failed_starts()
        return wait

    def watch(self) -> None:
        """Turn the pool while there is no connection: limits hold, and the dead are replaced. Ends are told later."""
        if self._kernel is not None:
            with self._section:
                self._hands.keeps = True
                try:
                    self._kernel.poll()
                finally:
                    self._hands.keeps = False
                self._kernel.ask_for_a_turn()  # by the event loop, as soon as it runs
                self._mind_failed_starts()

    def _mind_failed_starts(self) -> None:
        """Stop the worker if it cannot run any job. Its jobs go back, and whoever started it learns of it."""
        if self.kernel.failed_starts >= FAILED_STARTS and state.should_stop is None:
            text = f"no child gets ready for jobs after {FAILED_STARTS} tries, so the worker stops"
            logger.critical(Line("pool.no_child", text))
            state.should_stop = EX_FAILURE

    def _move_fence(self) -> None:
        self._fence_moved_at = time.monotonic()
        if self.starts_until is not None:
            self.kernel.fence.open_until(self.starts_until())

    def flush(self) -> None:
        """The connection is lost, and the broker will deliver its messages again: drop the jobs that have not started.

        Running jobs stay. Their events are passed on once there is a connection again.
        """
        if self._kernel is None:
            return
        with self._section:
            self._hands.give_up_places()
            self._hands.keeps = True
            try:
                self._kernel.take_all_back()
                end = time.monotonic() + GIVE_BACK_WITHIN
                while time.monotonic() < end and (self._kernel.judges or not self._hands.all_have_started):
                    wait = self._kernel.poll()
                    time.sleep(0.002 if wait is None else min(wait, 0.002))
            finally:
                self._hands.keeps = False

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
        waitforslot: bool = False,  # noqa: ARG002 - Celery's semaphore counts the places
        callbacks_propagate: Any = (),  # noqa: ARG002
        **told: Any,
    ) -> Handed | None:
        """Hand a call to the children; None while the pool stops. ``told`` are the arguments of ``Handed``."""
        if self._state != self.RUN or self._kernel is None:
            return None
        soft, hard = soft_timeout or self.options.get("soft_timeout"), timeout or self.options.get("timeout")
        payload = wire.packed_call(target, args, kwargs)
        handed = Handed(next(self._numbers), self._take_back, soft=soft, hard=hard, **told)
        with self._section:
            self._hands.take(handed)
            if time.monotonic() - self._fence_moved_at > FENCE_PAUSE:
                self._move_fence()
            self._kernel.submit(handed.number, payload, Terms(soft, hard, announce))
        return handed

    def _take_back(self, number: int) -> None:
        self._later(lambda kernel: kernel.take_back(number))

    @property
    def unstarted(self) -> int:
        """How many jobs no child has begun, as far as is known."""
        return self._hands.unstarted

    def take_back_unstarted(self, ids: Container[str]) -> None:
        """Take back those of ``ids`` that no child has begun; each such job's ``return_callback`` is called."""
        with self._section:
            for number in self._hands.take_back_unstarted(ids):
                self.kernel.take_back(number)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Send a signal to the process ``pid``, if it still runs the job that it is known to run."""
        if pid == self._hands.ending:
            return
        job = self.kernel.job_of(pid)
        if job is not None:
            signum = signal or TERM_SIGNAL
            self._hands.of(job).terminate(signum)
            self._later(lambda kernel: kernel.terminate(job, signum))

    def _later(self, call: Callable[[Pool], object]) -> None:
        """Make the call unless the pool has stopped; if a signal handler asks for it, after what it interrupts."""
        self._section.later(lambda: call(self._kernel) if self._kernel is not None else None)

    # -- its size ------------------------------------------------------------------------------------------

    @property
    def num_processes(self) -> int:
        """How many children there should be."""
        return self._kernel.size if self._kernel is not None else self.limit

    def grow(self, n: int = 1) -> None:
        """Have ``n`` more children."""
        if self._state == self.RUN:  # autoscale's timer may fire while the pool stops
            self.kernel.grow(n)
            self._hands.change_places(n)

    def shrink(self, n: int = 1) -> None:
        """Have ``n`` fewer children; each finishes its job first."""
        if self._state == self.RUN:
            n = min(n, self.kernel.size)
            self.kernel.shrink(n)
            self._hands.change_places(-n)

    def restart(self) -> None:
        """Replace all children; each finishes its job first."""
        self.kernel.restart()

    def _get_info(self) -> dict[str, Any]:
        kernel = self._kernel
        return {
            **super()._get_info(),
            "processes": list(kernel.processes) if kernel is not None else [],
            "max-tasks-per-child": self.options.get("maxtasksperchild") or "N/A",
            "put-guarded-by-semaphore": self.putlocks,
            "timeouts": (self.options.get("soft_timeout") or 0, self.options.get("timeout") or 0),
            "jobs": len(kernel) if kernel is not None else 0,
        }


def _fits(worker: Any) -> bool:
    """Whether the worker can use it: Celery's own pool is used without an event loop, and with children not forked."""
    return bool(supported() and worker.use_eventloop and worker.pool_start_method == "fork")


def _warn(text: str, pid: int | None) -> None:
    logger.warning(Line("pool.child_failed", text, pid=pid))


def _guard(pool: Any, starts_until: Callable[[], int]) -> None:
    if isinstance(pool, JobPool):  # a user's own may extend Celery's
        pool.starts_until = starts_until


def _watch(pool: Any) -> None:
    if isinstance(pool, JobPool):
        pool.watch()


SUPPORT = Support(JobPool, fits=_fits, guard=_guard, watch=_watch)
