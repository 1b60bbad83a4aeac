"""The account of each job: where it is, as far as the parent can know. Pure: no process, no socket, no clock.

    waiting ── issued ──► sent ── its child marked it as running ──► running ──► Ended | Lost
       ▲                   │
       └───── again ───────┴── void, and no child has marked it 10 ms later ──► Returned

A job that is *sent* is in the socket or in the hands of a child that has not begun it; only a look at the slots and the
rings tells. To take it back, the parent voids its ticket, waits until that is seen everywhere (``SETTLES``), and then
looks: what no child has marked by then will be refused by whoever marks it later. A child that marks it looks at the
ticket afterwards, so one of the two sees the other.

The protocol serves three occasions. The caller wants the job back (``take_back``). A child died, and may have had a job
in its hands that it had not marked yet (``suspect`` with no patience). A child is frozen there (``suspect`` with
``PATIENCE``). In the last two cases the job is handed out again, with a new ticket.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from .events import NO_REPORT, PLAIN, Ended, Event, Lost, Refused, Returned, Started, Terms
from .limits import UNLIMITED, Limits
from .ring import End, Kind
from .slot import Mark, Phase

SETTLES = 0.010
"""Seconds until a voided ticket is seen by all processors, and a mark made before that is seen by the parent."""
PATIENCE = 1.0
"""Seconds that a job may be neither in the socket, nor marked, nor ended."""


@dataclass(slots=True, eq=False)
class Account:
    """What is known of one job. ``void``: since when its ticket is; ``wanted``: the caller wants it back."""

    job: int
    payload: bytes
    terms: Terms
    ticket: int = 0
    child: int = 0
    started: int = 0
    running: bool = False
    limits: Limits = UNLIMITED
    void: float = math.inf
    missed: float = math.inf
    wanted: bool = False
    why: str = ""

    def begins(self, mark: Mark) -> None:
        """A child runs it: nobody needs the payload any more."""
        self.running, self.payload = True, b""
        self.child, self.started = mark.child, mark.started


class Accounts:
    """All jobs that were submitted and have not ended. ``void`` voids a ticket; ``clock`` gives seconds."""

    def __init__(self, void: Callable[[int], None], clock: Callable[[], float]) -> None:
        self._void = void
        self._clock = clock
        self._jobs: dict[int, Account] = {}
        self._voided: dict[int, Account] = {}
        self.waiting: deque[Account] = deque()
        """In the parent, in the order in which they are handed out."""
        self.sent: dict[int, Account] = {}
        """By their tickets, the oldest first."""
        self.running: dict[int, Account] = {}
        self.events: deque[Event] = deque()
        """What the caller has not been told yet."""
        self.reissued = 0
        """How often a job was handed out again that a child had taken and not begun."""

    def __len__(self) -> int:
        return len(self._jobs)

    def of(self, job: int) -> Account | None:
        """The account of ``job``; None if it has ended or was never submitted."""
        return self._jobs.get(job)

    # -- what the caller does ------------------------------------------------------------------------------

    def open(self, job: int, payload: bytes, terms: Terms = PLAIN) -> None:
        """``job`` was submitted."""
        if job in self._jobs:
            raise ValueError(f"job {job} was submitted already and has not ended")
        self._jobs[job] = account = Account(job, payload, terms)
        self.waiting.append(account)

    def issue(self, ticket: int) -> None:
        """The first job that waits was sent as ``ticket``, which is greater than all before."""
        account = self.waiting.popleft()
        account.ticket = ticket
        account.void = account.missed = math.inf
        self.sent[ticket] = account

    def refuse(self, why: str) -> None:
        """The first job that waits cannot be sent."""
        account = self.waiting.popleft()
        self._close(account, Refused(account.job, why))

    def take_back(self, job: int) -> None:
        """The caller wants ``job`` back. It is told ``Returned`` unless the job was running, or begins right now."""
        account = self._jobs.get(job)
        if account is None or account.running:
            return
        account.wanted = True
        if account.ticket:
            self._take_back(account)
        else:
            self.waiting.remove(account)
            self._return(account)

    def take_all_back(self) -> None:
        """Take back all jobs."""
        waiting, self.waiting = self.waiting, deque()
        for account in waiting:
            self._return(account)
        for account in self.sent.values():
            account.wanted = True
            self._take_back(account)

    # -- what the parent sees ------------------------------------------------------------------------------

    def observe(self, seen: float, marks: Collection[Mark], ends: Iterable[tuple[int, End]]) -> None:
        """The parent has looked: at ``seen`` it began to read the slots (``marks``), and then the rings (``ends``).

        ``ends`` are pairs of a child and what its ring says.
        """
        for mark in marks:
            if mark.phase >= Phase.RUNS and mark.ticket in self.sent:
                self._run(self.sent.pop(mark.ticket), mark)
        for child, end in ends:
            self._end(child, end)
        if self._voided:
            marked = {mark.ticket for mark in marks}
            settled = [
                account
                for ticket, account in sorted(self._voided.items())
                if account.void + SETTLES <= seen and ticket not in marked
            ]
            for account in settled:  # the caller gets them in order
                if account.wanted:
                    self._resolve(account)
            for account in reversed(settled):  # the oldest goes to the front last
                if not account.wanted:
                    self._resolve(account)

    def suspect(self, seen: float, head: float, marks: Iterable[Mark], patience: float = PATIENCE) -> None:
        """Take back what is neither in the socket, nor marked, nor ended for ``patience`` seconds.

        To be called after ``observe``, with the same ``seen`` and ``marks``. ``head`` is the ticket at the head of the
        socket, as it was read before the slots; infinite if the socket was empty.
        """
        marked = {mark.ticket for mark in marks}
        for ticket, account in self.sent.items():
            if ticket >= head:
                return
            if ticket in marked:
                account.missed = math.inf
                continue
            account.missed = min(account.missed, seen)
            if seen - account.missed >= patience:
                self._take_back(account)

    def bury(self, child: int, status: int, mark: Mark | None) -> None:
        """``child`` is dead; its ring was observed, and ``mark`` is the last word of its slot."""
        if mark is None:
            return
        if account := self.sent.get(mark.ticket):
            if mark.phase >= Phase.RUNS:
                del self.sent[mark.ticket]
                self._run(account, mark)
            else:
                self._resolve(account)
        if account := self.running.get(mark.ticket):
            at = account.started / 1e9
            if mark.phase is Phase.RETURNED:
                self._close(account, Ended(account.job, child, at, 0.0, Kind.UNREPORTED, b""))
            else:
                self._close(account, Lost(account.job, child, at, status, account.why))

    @property
    def next_look(self) -> float:
        """When a void ticket can be settled; infinite if none is void."""
        return min((account.void for account in self._voided.values()), default=math.inf) + SETTLES

    # -- transitions ---------------------------------------------------------------------------------------

    def _take_back(self, account: Account) -> None:
        if account.void < math.inf:
            return
        self._void(account.ticket)
        account.void = self._clock()  # after the ticket is void, so that the wait is not shortened
        self._voided[account.ticket] = account

    def _run(self, account: Account, mark: Mark) -> None:
        """It passed the look at its ticket before that was voided, if it was."""
        self._voided.pop(account.ticket, None)
        account.begins(mark)
        account.limits = Limits.of(mark.started / 1e9, account.terms.soft, account.terms.hard)
        self.running[account.ticket] = account
        self.events.append(Started(account.job, mark.child, mark.started / 1e9))

    def _end(self, child: int, end: End) -> None:
        if end.kind is Kind.REFUSED:
            account = self.sent.get(end.ticket)
            if account is not None:
                self._resolve(account)
            return
        account = self.running.get(end.ticket) or self.sent.get(end.ticket)
        if account is None:
            return
        at, runtime = end.started / 1e9, end.runtime / 1e9
        if end.kind is Kind.OPEN_PARCEL:
            self._close(account, Lost(account.job, child, at, 0, NO_REPORT))
        else:
            self._close(account, Ended(account.job, child, at, runtime, end.kind, end.body))

    def _resolve(self, account: Account) -> None:
        """No child has started it or will: it goes back to the caller, or is handed out again, first of all."""
        self.sent.pop(account.ticket)
        self._voided.pop(account.ticket, None)
        if account.wanted:
            self._return(account)
        else:
            account.ticket = 0
            self.reissued += 1
            self.waiting.appendleft(account)

    def _return(self, account: Account) -> None:
        self._close(account, Returned(account.job))

    def _close(self, account: Account, event: Event) -> None:
        self.sent.pop(account.ticket, None)
        self.running.pop(account.ticket, None)
        self._voided.pop(account.ticket, None)
        del self._jobs[account.job]
        account.running = False
        self.events.append(event)


__all__ = ["PATIENCE", "SETTLES", "Account", "Accounts"]
