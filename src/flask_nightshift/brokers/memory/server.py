"""What a broker's server is elsewhere: queues, delayed jobs, and the messages that consumers have in hand.

Every step is atomic, so a message is always in exactly one place, and invariant 1 holds by one lock. Messages are kept
as bytes, as another server would keep them: what a publisher changes later changes no job.
"""

from __future__ import annotations

import itertools
import os
import threading
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import time
from weakref import WeakValueDictionary

from kombu.transport.virtual import BrokerState

LONGEST_WAIT = 1.0
"""Seconds after which a waiting consumer looks again: a clock that tests gave may have been moved."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message: ``priority`` 0 is served first; ``deliveries`` went before; ``number`` names it for its consumer."""

    queue: str
    payload: bytes
    priority: int
    number: int
    deliveries: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """How many messages of a queue are where."""

    ready: int
    delayed: int
    leased: int


class MemoryServer:
    """The messages of one broker; safe to use from several threads. ``now`` gives seconds since 1970."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self.exchanges = BrokerState()
        """kombu's exchanges and bindings."""
        self.away = False
        """Set by tests: the broker answers nobody."""
        self._now = now
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._changes = 0
        self._numbers = itertools.count(1)
        self._ready: dict[str, dict[int, deque[Stored]]] = defaultdict(lambda: defaultdict(deque))
        self._delayed: dict[str, list[tuple[float, int, Stored]]] = defaultdict(list)
        self._leased: dict[int, Stored] = {}

    # -- time ----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """The broker's time."""
        return self._now()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass for what is delayed now.

        The clock stays: whoever publishes later reckons by the machine's, and would else find the delay over.
        """
        with self._step():
            for line in self._delayed.values():
                line[:] = [(due - seconds, number, stored) for due, number, stored in line]

    # -- publishing and consuming --------------------------------------------------------------------------

    def publish(self, queue: str, payload: bytes, priority: int = 0, due: float = 0.0) -> None:
        """Put a message at the end of ``queue``, or keep it until ``due``."""
        with self._step():
            self._put(Stored(queue, payload, priority, next(self._numbers)), due)

    def claim(self, queue: str) -> Stored | None:
        """The next message of ``queue``, now in its consumer's hand; None if there is none."""
        with self._step(changes=False):
            for _, line in sorted(self._ready.get(queue, {}).items()):
                if line:
                    stored = line.popleft()
                    self._leased[stored.number] = stored
                    return stored
            return None

    def holds(self, number: int) -> bool:
        """Whether the message is in its consumer's hand."""
        return number in self._leased

    def ack(self, number: int) -> bool:
        """Forget a message in hand; False if it is not."""
        with self._step():
            return self._leased.pop(number, None) is not None

    def replace(self, number: int, queue: str, payload: bytes, priority: int = 0, due: float = 0.0) -> bool:
        """Write the next state of a message in hand and forget it, in one step; False if it is not in hand."""
        with self._step():
            if self._leased.pop(number, None) is None:
                return False
            self._put(Stored(queue, payload, priority, next(self._numbers)), due)
            return True

    def give_back(self, number: int, *, counted: bool) -> bool:
        """Put a message in hand back at the head of its queue, also while the broker is away."""
        if os.getpid() != self._pid:
            return False
        with self._changed:
            stored = self._leased.pop(number, None)
            if stored is None:
                return False
            again = replace(stored, deliveries=stored.deliveries + int(counted), number=next(self._numbers))
            self._ready[stored.queue][stored.priority].appendleft(again)
            self._notify()
            return True

    def wait(self, seen: int, timeout: float) -> None:
        """Wait until something has changed since ``changes`` was ``seen``, the next delay is over, or ``timeout``."""
        with self._changed:
            if self._changes == seen:
                dues = [line[0][0] - self.now() for line in self._delayed.values() if line]
                self._changed.wait(max(0.0, min([timeout, LONGEST_WAIT, *dues])))

    @property
    def changes(self) -> int:
        """Counts what happens, for ``wait``."""
        return self._changes

    # -- looking -------------------------------------------------------------------------------------------

    def counts(self, queue: str) -> Counts:
        """How many messages are ready, delayed and in hand."""
        with self._step(changes=False):
            ready = sum(map(len, self._ready.get(queue, {}).values()))
            leased = sum(stored.queue == queue for stored in self._leased.values())
            return Counts(ready, len(self._delayed.get(queue, ())), leased)

    def ready(self, queue: str) -> list[Stored]:
        """The ready messages, next first."""
        with self._step(changes=False):
            return [stored for _, line in sorted(self._ready.get(queue, {}).items()) for stored in line]

    def delayed(self, queue: str) -> list[tuple[float, Stored]]:
        """The delayed messages and when each is due, soonest first."""
        with self._step(changes=False):
            return [(due, stored) for due, _, stored in self._delayed.get(queue, ())]

    # -- operating -----------------------------------------------------------------------------------------

    def remove(self, stored: Stored) -> bool:
        """Delete a message that is ready or delayed; False if it is neither (any more)."""
        with self._step():
            return self._remove(stored)

    def run_now(self, stored: Stored) -> bool:
        """Put a delayed message at the head of its queue; False if it is not delayed (any more)."""
        with self._step():
            found = self._remove(stored)
            if found:
                self._ready[stored.queue][stored.priority].appendleft(stored)
            return found

    def purge(self, queue: str) -> int:
        """Delete the ready and the delayed messages; how many they were."""
        with self._step():
            ready = sum(map(len, self._ready.pop(queue, {}).values()))
            return ready + len(self._delayed.pop(queue, ()))

    # -- within a step -------------------------------------------------------------------------------------

    @contextmanager
    def _step(self, *, changes: bool = True) -> Iterator[None]:
        self.check()  # before the lock, which a fork may have copied while somebody had it
        with self._changed:
            self._promote()
            yield
            self._promote()
            if changes:
                self._notify()

    def check(self) -> None:
        """Raise ``ConnectionError`` in a process that forked off, whose copy of the queues nobody reads."""
        if self.away:
            raise ConnectionError("memory:// was told to be away")
        if os.getpid() != self._pid:
            raise ConnectionError(
                f"memory:// lives in process {self._pid}, and no other process can reach it"
            )

    def _put(self, stored: Stored, due: float) -> None:
        if due > self.now():
            insort(self._delayed[stored.queue], (due, stored.number, stored))
        else:
            self._ready[stored.queue][stored.priority].append(stored)

    def _promote(self) -> None:
        now = self.now()
        for line in self._delayed.values():
            while line and line[0][0] <= now:
                _, _, stored = line.pop(0)
                self._ready[stored.queue][stored.priority].append(stored)
                self._changes += 1

    def _remove(self, stored: Stored) -> bool:
        ready, delayed = self._ready[stored.queue][stored.priority], self._delayed[stored.queue]
        if stored in ready:
            ready.remove(stored)
            return True
        left = [entry for entry in delayed if entry[2] != stored]
        found = len(left) < len(delayed)
        delayed[:] = left
        return found

    def _notify(self) -> None:
        self._changes += 1
        self._changed.notify_all()


_SERVERS: WeakValueDictionary[str, MemoryServer] = WeakValueDictionary()
_LOCK = threading.Lock()


def server(name: str, now: Callable[[], float] = time) -> MemoryServer:
    """The server of that name in this process, made when nobody has it; it goes with the last who has."""
    with _LOCK:
        found = _SERVERS.get(name)
        if found is None:
            found = _SERVERS[name] = MemoryServer(now)
        return found


__all__ = ["Counts", "MemoryServer", "Stored", "server"]
