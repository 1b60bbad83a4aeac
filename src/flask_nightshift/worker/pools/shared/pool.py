"""The parent's side: hands out jobs, looks at what the children say in shared memory, and tells how each job ended.

It has no thread and no loop of its own. Whoever has one watches ``fileno`` and calls ``poll`` when it is readable, and
again after as many seconds as ``poll`` says. All events are told by ``poll``.
"""

from __future__ import annotations

import math
import select
import signal
import time
from collections.abc import Callable, Mapping

from .accounts import Accounts
from .child import Child, Shared, Work
from .events import PLAIN, Event, SoftLimit, Terms
from .fence import Fence
from .limits import Limit
from .observer import Observer
from .process import Process
from .queue import JobQueue
from .reports import Reports
from .signals import SOFT_LIMIT
from .staff import Staff, Trouble
from .stopping import Order, Stops
from .tickets import TICKETS, Tickets

LOOK = 0.005
"""Seconds between two looks while a child may end a job and begin another one without a word."""


class Pool:
    """A pool of ``size`` children that do ``work``; ``tell`` is called with each event.

    ``depth``: how many jobs stand in the queue at most, the others in this process. ``ready_within``: seconds after
    which a child that is not ready for jobs is replaced. ``trouble`` is told of children that fail.
    ``child`` is the class of the children's loop, for tests.
    """

    def __init__(
        self,
        size: int,
        work: Work,
        tell: Callable[[Event], object],
        *,
        depth: int = 256,
        ready_within: float = 60.0,
        trouble: Trouble = lambda _, __: None,
        child: type[Child] = Child,
    ) -> None:
        self.depth = depth
        self._tell = tell
        self._shared = Shared(JobQueue(), Reports(), Tickets(), Fence())
        self._queue, self._reports = self._shared.queue, self._shared.reports
        self._accounts = Accounts(self._shared.tickets.void, time.monotonic)
        self._epoll = select.epoll()
        self._epoll.register(self._reports.news, select.EPOLLIN)
        self._epoll.register(self._reports.parcels, select.EPOLLIN)
        self._staff = Staff(
            size,
            self._shared,
            work,
            watch=self._epoll,
            close=self._epoll.close,
            ready_within=ready_within,
            trouble=trouble,
            child=child,
        )
        self._observer = Observer(self._accounts, self._queue, self._reports, self._staff)
        self._stops = Stops(self._observer.look)
        self._last_ticket = 0
        self._full = False
        self._next_poll = math.inf

    def __len__(self) -> int:
        """How many jobs were submitted and have not ended."""
        return len(self._accounts)

    @property
    def fence(self) -> Fence:
        """The time until which jobs may start."""
        return self._shared.fence

    @property
    def processes(self) -> Mapping[int, Process]:
        """The children that live, by their pids."""
        return self._staff.processes

    @property
    def waiting(self) -> int:
        """How many jobs are in this process, because the queue is full."""
        return len(self._accounts.waiting)

    # -- jobs ----------------------------------------------------------------------------------------------

    def submit(self, job: int, payload: bytes, terms: Terms = PLAIN) -> None:
        """Hand out a job, or keep it here until there is room; ``job`` names it until it ends."""
        self._accounts.open(job, payload, terms)
        if not self._full:
            self._hand_out()
        self._poll_within(LOOK)

    def take_back(self, job: int) -> None:
        """Have ``job`` ``Returned`` unless it runs or begins now; no effect on a job that has ended."""
        self._accounts.take_back(job)
        self._poll_within(0)

    def take_all_back(self) -> None:
        """Take back all jobs that do not run."""
        self._accounts.take_all_back()
        self._poll_within(0)

    def terminate(self, job: int, signum: int = signal.SIGKILL, why: str = "terminated") -> bool:
        """Send ``signum`` to the child that runs ``job`` if it still does; False if no child is known to run it."""
        account = self._accounts.of(job)
        if account is None or not account.running or account.child not in self.processes:
            return False
        self._stops.stop(self.processes[account.child], Order(account, signum, why))
        self._poll_within(0)
        return True

    @property
    def judges(self) -> bool:
        """Whether a child was stopped, and is judged by one of the next calls of ``poll``."""
        return bool(self._stops)

    def job_of(self, child: int) -> int | None:
        """The job that the process ``child`` is known to run."""
        return next((each.job for each in self._accounts.running.values() if each.child == child), None)

    # -- children ------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many children there should be."""
        return self._staff.size

    @property
    def failed_starts(self) -> int:
        """Failed starts of children in a row, a second apart; 0 while a child is ready for jobs."""
        return self._staff.failed_starts

    def start(self) -> None:
        """Start the children."""
        self._staff.maintain(time.monotonic())
        self._poll_within(0)

    def grow(self, n: int = 1) -> None:
        """Have ``n`` more children."""
        self._staff.grow(n)
        self._poll_within(0)

    def shrink(self, n: int = 1) -> None:
        """Have ``n`` fewer children; each finishes its job first, and idle ones leave first."""
        self._staff.shrink(n)
        self._poll_within(0)

    def restart(self) -> None:
        """Replace all children; each finishes its job first."""
        self._staff.replace()
        self._poll_within(0)

    def stop(self) -> None:
        """Take back all jobs that do not run, and let the children leave. ``poll`` until there are no ``processes``."""
        self.take_all_back()
        self.shrink(self.size)

    def kill(self) -> None:
        """Kill all children; what they run is ``Lost``. ``poll`` until there are no ``processes``."""
        self._staff.kill()

    def close(self) -> None:
        """Free what the pool holds, once it has no processes any more."""
        self._epoll.close()
        self._queue.close()
        self._reports.close()

    # -- the event loop ------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor that is readable when ``poll`` should be called."""
        return self._epoll.fileno()

    def ask_for_a_turn(self) -> None:
        """Make ``fileno`` readable."""
        self._reports.tell()

    def poll(self) -> float | None:
        """Look, act, and tell what there is to tell.

        Returns in how many seconds to call it again; None for when ``fileno`` is readable. Whatever ``tell`` raises
        comes out of here, and the next call tells the events that follow.
        """
        self._next_poll = -math.inf  # until the end of this call nobody need ask for another one
        try:
            dead = self._read()
            self._observer.turn()
            for each in dead:
                self._stops.forget(each)
                self._observer.bury(each)
            self._stops.judge()
            self._mind_limits()
            self._hand_out()
            self._staff.maintain(time.monotonic())
            events = self._accounts.events
            while events:
                self._tell(events.popleft())
        except BaseException:
            self._next_poll = math.inf
            self._poll_within(0)
            raise
        self._next_poll = self._when()
        return None if self._next_poll == math.inf else max(0.0, self._next_poll - time.monotonic())

    def _read(self) -> list[Process]:
        """Read what the children sent; returns those that are dead."""
        dead = []
        for fd, _ in self._epoll.poll(0):
            if fd == self._reports.news:
                self._reports.clear()
            elif fd == self._reports.parcels.fileno():
                self._reports.receive()
            elif child := self._staff.of_fd(fd):
                dead.append(child)
        return dead

    def _mind_limits(self) -> None:
        now = time.monotonic()
        for account in list(self._accounts.running.values()):
            limit = account.limits.reached(now)
            child = self.processes.get(account.child)
            if limit is None or child is None:
                continue
            if limit is Limit.HARD:
                self._stops.stop(child, Order(account, signal.SIGKILL, limit.value))
            else:
                child.slot.reach_soft_limit(account.ticket)
                child.send(SOFT_LIMIT)
                self._accounts.events.append(SoftLimit(account.job, child.pid))

    def _hand_out(self) -> None:
        """Send jobs while the queue has room; the others stay here, in their order."""
        accounts, tickets = self._accounts, self._shared.tickets
        self._full = False
        while accounts.waiting and len(accounts.sent) < self.depth:
            ticket = self._last_ticket + 1
            if ticket - next(iter(accounts.sent), ticket) >= TICKETS:
                break  # it would share its word with one that is out
            account = accounts.waiting[0]
            tickets.issue(ticket)
            try:
                taken = self._queue.put(ticket, account.payload, announce=account.terms.announce)
            except OSError as exc:
                accounts.refuse(str(exc))
                continue
            if not taken:
                self._full = True
                break
            self._last_ticket = ticket
            accounts.issue(ticket)

    # -- when to look again --------------------------------------------------------------------------------

    def _when(self) -> float:
        """When ``poll`` must be called at the latest."""
        now = time.monotonic()
        accounts = self._accounts
        moments = [accounts.next_look, self._staff.next]
        moments += [account.limits.next for account in accounts.running.values()]
        if accounts.sent or accounts.waiting or self._stops or self._staff.leaves or self._staff.nudges:
            moments.append(now + LOOK)
        return min(moments)

    def _poll_within(self, seconds: float) -> None:
        """Have ``poll`` called within ``seconds``."""
        at = time.monotonic() + seconds
        if at < self._next_poll:
            self._next_poll = at
            self._reports.tell()


__all__ = ["Pool"]
