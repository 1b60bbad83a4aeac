"""The server of ``memory://``: queues, delayed messages, and the messages that consumers hold.

One lock makes every step atomic, so a message is always in exactly one place (invariant 1). Messages are stored as
bytes, as on a real server, so a publisher's later changes to an object do not change the job.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from time import time
from typing import TypeVar
from weakref import WeakValueDictionary

from kombu.transport.virtual import BrokerState

from ...message.unique import Lock
from ..values import HeldLock
from .held_orders import HeldOrders
from .lines import Delayed, Ready
from .locks import HeldLocks
from .stored import Stored

T = TypeVar("T")

LONGEST_WAIT = 1.0
"""Maximum seconds that a consumer waits before it checks again, because a test may have moved the clock."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of ready, delayed and delivered (unacknowledged) messages of a queue."""

    ready: int
    delayed: int
    leased: int


class MemoryServer:
    """The messages of one broker; safe to use from several threads. ``now`` returns seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self.exchanges = BrokerState()
        """kombu's exchanges and bindings."""
        self.away = False
        """Tests set it to make the broker unavailable."""
        self.unheard: dict[int, Stored | None] = {}
        """Messages, by number, whose acknowledgement a test loses, as if their worker was killed a moment before it;
        with what came back to the queue instead."""
        self.newest = 0
        """The number of the newest message."""
        self._now = now
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._changes = 0
        self._ready = Ready()
        self._delayed = Delayed()
        self._leased: dict[int, Stored] = {}
        self._published: dict[tuple[str, int, int], float] = {}  # attempts from an outbox, the oldest first
        self._locks = HeldLocks(now)
        self._orders = HeldOrders()

    # -- time ----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The broker's time."""
        return self._now()

    def advance(self, seconds: float) -> None:
        """Shorten the delays of delayed messages, the time for which locks are kept, and ``expires``, by ``seconds``.

        The broker's clock does not change, because later publishers compute due times by the machine's clock.
        """
        with self._step():
            self._delayed.age(seconds)
            self._ready.age(seconds)
            self._locks.advance(seconds)

    # -- publishing and consuming --------------------------------------------------------------------------

    def publish(self, queue: str, payload: bytes, priority: int = 0, due: float = 0.0) -> None:
        """Put a message at the end of ``queue``, or delay it until ``due`` (seconds since 1970)."""
        with self._step():
            self._put(Stored(queue, payload, priority, self._number()), due)

    def remember(self, attempt: tuple[str, int, int], seconds: float) -> bool:
        """Note that ``attempt`` is published; False if that was noted in the last ``seconds``."""
        with self._step(changes=False):
            now = self.now()
            while self._published and next(iter(self._published.values())) <= now - seconds:
                del self._published[next(iter(self._published))]
            return self._published.setdefault(attempt, now) == now

    def publish_unique(self, queue: str, payload: bytes, priority: int, due: float, lock: Lock) -> str:
        """Publish a unique job if it gets its lock; returns '' then, or the id of the job that holds it."""
        with self._step():
            holder = self._locks.claim(lock, due)
            if not holder:
                self._put(Stored(queue, payload, priority, self._number()), due)
            return holder

    def claim(self, queue: str) -> Stored | None:
        """Deliver the next message of ``queue``; None if there is none, or the queue is paused."""
        with self._step(changes=False):
            if queue in self._orders.pauses:
                return None
            stored = self._ready.take(queue)
            if stored is not None:
                self._leased[stored.number] = stored
            return stored

    def holds(self, number: int) -> bool:
        """Whether the message is delivered and unacknowledged."""
        return number in self._leased

    def begin_unique(self, lock: Lock) -> str:
        """A unique job begins: returns '' if it may, else the id of the job that replaced it."""
        with self._step(changes=False):
            return self._locks.begin(lock)

    def ack(self, number: int, lock: Lock | None = None) -> bool:
        """Acknowledge (delete) a delivered message and release its job's lock; False if it is not delivered."""
        if number in self.unheard:
            self.unheard[number] = self.give_back(number, counted=True)
            return False
        with self._step():
            if self._leased.pop(number, None) is None:
                return False
            self._locks.settled(lock)
            return True

    def replace(
        self,
        number: int,
        queue: str,
        payload: bytes,
        priority: int = 0,
        due: float = 0.0,
        lock: Lock | None = None,
    ) -> bool:
        """Write a delivered message's next state and acknowledge it in one step; False if it is not delivered.

        ``lock`` is released with it.
        """
        with self._step():
            if self._leased.pop(number, None) is None:
                return False
            self._locks.settled(lock)
            self._put(Stored(queue, payload, priority, self._number()), due)
            return True

    def give_back(self, number: int, *, counted: bool) -> Stored | None:
        """Return a delivered message to the head of its queue, even while ``away``; ``counted``: as a delivery.

        None if it is not delivered.
        """
        if os.getpid() != self._pid:
            return None
        with self._changed:
            stored = self._leased.pop(number, None)
            if stored is None:
                return None
            again = replace(stored, deliveries=stored.deliveries + int(counted), number=self._number())
            self._ready.put_first(again)
            self._notify()
            return again

    def wait(self, seen: int, timeout: float) -> None:
        """Wait until ``changes`` differs from ``seen``, the next delay ends, or ``timeout`` seconds passed."""
        with self._changed:
            if self._changes == seen:
                due = self._delayed.next_due()
                left = timeout if due is None else min(timeout, due - self.now())
                self._changed.wait(max(0.0, min(left, LONGEST_WAIT)))

    @property
    def changes(self) -> int:
        """The number of changes so far, for ``wait``."""
        return self._changes

    # -- looking -------------------------------------------------------------------------------------------

    def counts(self, queue: str) -> Counts:
        """The numbers of messages of ``queue``."""
        with self._step(changes=False):
            leased = sum(stored.queue == queue for stored in self._leased.values())
            return Counts(self._ready.count(queue), self._delayed.count(queue), leased)

    def ready(self, queue: str) -> list[Stored]:
        """The ready messages, next first."""
        with self._step(changes=False):
            return self._ready.of(queue)

    def delayed(self, queue: str) -> list[tuple[float, Stored]]:
        """The delayed messages as ``(due, message)``, soonest first."""
        with self._step(changes=False):
            return self._delayed.of(queue)

    def waiting(self) -> list[tuple[float | None, Stored]]:
        """The messages of all queues, as ``(due, message)``, in the order in which a worker of all queues gets them.

        First the ready ones (due: None), by priority and then in the order in which they became ready; then the
        delayed ones, soonest first.
        """
        with self._step(changes=False):
            return [*((None, each) for each in self._ready.in_order()), *self._delayed.in_order()]

    def first(self, wanted: Callable[[Stored], bool]) -> Stored | None:
        """The first ready message for which ``wanted`` is true, in that order."""
        with self._step(changes=False):
            return next(filter(wanted, self._ready.in_order()), None)

    def next_due(self, wanted: Callable[[Stored], bool]) -> float | None:
        """When the first delayed message is due for which ``wanted`` is true; None if there is none."""
        with self._step(changes=False):
            return self._delayed.next_due(wanted)

    def since(self, number: int) -> list[Stored]:
        """The ready and delayed messages that are newer than the message ``number``."""
        with self._step(changes=False):
            return [stored for stored in chain(self._ready, self._delayed) if stored.number > number]

    def replaced_by(self, job_id: str) -> str:
        """The job that replaced the unique job ``job_id`` before it began; '' if none did."""
        with self._step(changes=False):
            return self._locks.replaced_by(job_id)

    def held_locks(self) -> list[HeldLock]:
        """The locks of unique jobs, by key."""
        with self._step(changes=False):
            return self._locks.held()

    def names(self) -> list[str]:
        """The queues with ready or delayed messages, by name."""
        with self._step(changes=False):
            return sorted(self._ready.names() | self._delayed.names())

    # -- operating -----------------------------------------------------------------------------------------

    def release_lock(self, key: str) -> HeldLock | None:
        """Release a lock, whoever holds it."""
        with self._step(changes=False):
            return self._locks.release(key)

    def remove(self, stored: Stored) -> bool:
        """Delete a message that is ready or delayed, with its lock; False if it is neither (any more)."""
        with self._step():
            found = self._remove(stored)
            if found:
                self._locks.settled(stored.lock())
            return found

    def run_now(self, stored: Stored) -> bool:
        """Put a delayed message at the head of its queue; False if it is not delayed (any more)."""
        with self._step():
            found = self._remove(stored)
            if found:
                self._ready.put_first(stored)
            return found

    def purge(self, queue: str) -> int:
        """Delete the ready and the delayed messages, with their locks; returns their number."""
        with self._step():
            gone = self._ready.clear(queue) + self._delayed.clear(queue)
            for stored in gone:
                self._locks.settled(stored.lock())
            return len(gone)

    def ordered(self, question: Callable[[HeldOrders], T], *, changes: bool = True) -> T:
        """Ask for the orders for all workers, or change them."""
        with self._step(changes=changes):
            return question(self._orders)

    # -- within a step -------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, *, changes: bool = True) -> Iterator[None]:
        self.check()  # before the lock, because a fork may have copied it while another thread held it
        with self._changed:
            self._promote()
            yield
            self._promote()
            if changes:
                self._notify()

    def check(self) -> None:
        """Raise ``ConnectionError`` in a forked process, which has only a copy of the queues, and while ``away``."""
        if self.away:
            raise ConnectionError("a test made memory:// unavailable")
        if os.getpid() != self._pid:
            raise ConnectionError(
                f"memory:// lives in process {self._pid}, and no other process can reach it"
            )

    def _number(self) -> int:
        self.newest += 1
        return self.newest

    def _put(self, stored: Stored, due: float) -> None:
        if due > self.now():
            self._delayed.add(stored, due)
        else:
            self._ready.append(stored)

    def _promote(self) -> None:
        for stored in self._delayed.take_due(self.now()):
            self._ready.append(stored)
            self._changes += 1

    def _remove(self, stored: Stored) -> bool:
        return self._ready.remove(stored) or self._delayed.remove(stored)

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()


_SERVERS: WeakValueDictionary[str, MemoryServer] = WeakValueDictionary()
_LOCK = threading.Lock()


def server(name: str, now: Callable[[], float] = time) -> MemoryServer:
    """The server called ``name`` in this process; created on first use, gone with its last user."""
    with _LOCK:
        found = _SERVERS.get(name)
        if found is None:
            found = _SERVERS[name] = MemoryServer(now)
        return found


__all__ = ["Counts", "MemoryServer", "server"]
