"""Acknowledgements on their way: waiting to be sent, or sent and not yet confirmed.

Invariant: one is forgotten only when the server's reply confirmed it. To send one twice does no harm.
Safe to use from several threads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ....lifetime import greenlets

MOST_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Ack:
    """A leased message that is done with; ``headers`` are for the log, if it comes too late."""

    queue: str
    number: int
    headers: Any = None


@dataclass(eq=False, slots=True)
class Batch:
    """What one command carries."""

    acks: list[Ack] = field(default_factory=list)

    def args(self) -> list[str | int]:
        """As the scripts read them (see ``shared.lua``)."""
        groups: dict[str, list[int]] = {}
        for ack in self.acks:
            groups.setdefault(ack.queue, []).append(ack.number)
        args: list[str | int] = [len(groups)]
        for queue, numbers in groups.items():
            args += [queue, len(numbers), *numbers]
        return args


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
