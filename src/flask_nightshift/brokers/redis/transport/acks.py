"""Acknowledgements on their way: waiting to be sent, or sent and not yet confirmed.

Invariant: one is forgotten only when the server's reply confirmed it. To send one twice does no harm.
Safe to use from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ....lifetime import greenlets
from ....message.unique import Lock, lock_of
from .keys import KeySpace

MOST_AT_ONCE = 1000


class Ack(NamedTuple):
    """A leased message that is done with; ``headers`` name its lock, and its job in the log if it comes too late."""

    queue: str
    number: int
    headers: Any = None


def lock_args(locks: Sequence[Lock]) -> list[str | int]:
    """``locks`` that are released, as the scripts read them in ARGV (``release_locks`` in ``shared.lua``)."""
    return [len(locks), *(lock.job_id for lock in locks)]


def lock_keys(keys: KeySpace, locks: Sequence[Lock]) -> list[str]:
    """The same in KEYS."""
    return [keys.replaced, *(keys.lock(lock.key) for lock in locks)] if locks else []


@dataclass(eq=False, slots=True)
class Batch:
    """What one command carries."""

    acks: list[Ack] = field(default_factory=list)
    locks: list[Lock] = field(init=False)
    """The locks that the settled jobs release."""

    def __post_init__(self) -> None:
        self.locks = [lock for ack in self.acks if (lock := lock_of(ack.headers)) is not None]

    def args(self) -> list[str | int]:
        """As the scripts read them (see ``shared.lua``)."""
        groups: dict[str, list[int]] = {}
        for ack in self.acks:
            groups.setdefault(ack.queue, []).append(ack.number)
        args: list[str | int] = [len(groups)]
        for queue, numbers in groups.items():
            args += [queue, len(numbers), *numbers]
        return [*args, *lock_args(self.locks)]


NOTHING = Batch()


class Acks:
    """The acknowledgements of one consumer that the server has not confirmed."""

    def __init__(self) -> None:
        self._lock = greenlets.os_lock()
        self._waiting: list[Ack] = []
        self._sent: list[Batch] = []
        self._since = 0.0

    def add(self, ack: Ack) -> bool:
        """One more; True if it is the first that waits."""
        with self._lock:
            self._waiting.append(ack)
            if len(self._waiting) > 1:
                return False
            self._since = time.monotonic()
            return True

    def take(self) -> Batch:
        """What is to be sent now. Then either ``confirm`` or ``put_back`` the batch."""
        with self._lock:
            if not self._waiting:
                return NOTHING
            batch = Batch(self._waiting[:MOST_AT_ONCE])
            del self._waiting[:MOST_AT_ONCE]
            self._sent.append(batch)
            return batch

    def take_all(self) -> list[Batch]:
        """Everything unconfirmed, also what was sent and got no reply yet, for the last command."""
        with self._lock:
            batches = [*self._sent]
            for at in range(0, len(self._waiting), MOST_AT_ONCE):
                batches.append(Batch(self._waiting[at : at + MOST_AT_ONCE]))
            self._sent, self._waiting = list(batches), []
            return batches

    def confirm(self, batch: Batch) -> None:
        """The server has them."""
        with self._lock:
            if batch in self._sent:
                self._sent.remove(batch)

    def put_back(self, batch: Batch) -> None:
        """No reply came: send them again."""
        with self._lock:
            if batch in self._sent:
                self._sent.remove(batch)
                self._waiting[:0] = batch.acks
                self._since = min(self._since, time.monotonic())

    def age(self) -> float | None:
        """Seconds that the oldest has waited; None if none waits."""
        with self._lock:
            return time.monotonic() - self._since if self._waiting else None

    def unconfirmed(self) -> list[Ack]:
        """All of them, for the log."""
        with self._lock:
            return [ack for batch in self._sent for ack in batch.acks] + self._waiting
