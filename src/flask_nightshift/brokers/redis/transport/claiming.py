"""Which claim to send: how many messages, from which queues, and what travels with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

from ....domain.look_ahead import AHEAD
from .acks import NOTHING, Batch, lock_keys
from .deliveries import Claimed, Deliveries
from .keys import KeySpace
from .kombu_channel import KombuChannel
from .lease import Lease
from .message import unproven_in_hand
from .polling import Claim
from .renewal import ACK_LINGER

PROMOTE_AT_ONCE = 100
"""Ready messages up to which a claim promotes due ones, so that 100,000 due at once neither block nor starve."""


MOST_AT_ONCE = 500
"""Messages that one claim takes at the most, so that the script does not block the server for long."""


class Claims:
    """Makes the claims of one channel, and remembers what the last one found."""

    def __init__(self, kombu: KombuChannel, keys: KeySpace, deliveries: Deliveries) -> None:
        self._kombu = kombu
        self._keys = keys
        self._deliveries = deliveries
        self._next_number = 1
        self._next_due: float | None = None
        self._looks = 0
        self.exhausted = False
        """Whether the last claim emptied the queues."""
        self.skipped = False
        """Whether it skipped unproven messages."""
        self._took_at = -math.inf
        """When a claim last brought an unproven message, on the monotonic clock."""
        self._named: tuple[str, ...] = ()
        self._names: list[str] = []
        """The keys of the queues ``_named``, which most claims share."""

    @property
    def next_due(self) -> float | None:
        """When the next delayed message is due, on the monotonic clock; None if no claim found one."""
        return self._next_due

    def idle(self) -> bool:
        """Whether another claim would find nothing."""
        return self.exhausted and (self._next_due is None or self._next_due > monotonic())

    def received(self, claim: Claim, reply: list[Any]) -> Iterator[Claimed]:
        """What the reply of ``claim.lua`` brought; remembers when the next delayed message is due, and what is left."""
        at, wait = float(reply[1]), float(reply[2])
        self._next_due = monotonic() + wait if wait >= 0 else None
        self.skipped = bool(reply[4])
        self.exhausted = not (reply[3] or (claim.behind and self.skipped)) and claim.looks == self._looks
        found = zip(reply[5::2], reply[6::2], strict=True)
        for number, (position, raw) in enumerate(found, claim.first):
            queue = claim.queues[abs(position) - 1]
            claimed = Claimed(claim.lease, number, queue, raw, at, position < 0)
            if claimed.unproven:
                self._took_at = monotonic()
            yield claimed

    def look_again(self) -> None:
        """Claim next, although the last claim emptied the queues, or the one under way does."""
        self._looks += 1
        self.exhausted = self.skipped = False

    def woken(self) -> None:
        """A doorbell rang, or the wait is over."""
        self.exhausted, self._next_due = False, None

    def size(self, lease: Lease | None) -> int:
        """How many messages to claim now.

        At least half the prefetch, which saves round trips, or whatever is free once the acknowledgements that are to
        travel with the claim have waited for ``ACK_LINGER``. While an unproven message waits, only what can begin.
        """
        qos = self._kombu.qos
        free = qos.free()
        if free is None or qos.one_at_a_time:
            return 1 if free is None or free else 0
        if self.skipped and self._makes_room():
            return int(max(0, min(free, self._places())))
        if free * 2 < qos.limit and not self.exhausted and lease is not None:
            age = lease.acks.age()
            if age is not None and age < ACK_LINGER:
                return 0
        return min(free, MOST_AT_ONCE)

    def size_behind_wait(self, lease: Lease) -> int:
        """How many messages to claim as soon as the wait under way ends; 0 if that is to be decided then.

        Only what can begin at once, and only while nothing is in hand: until the wait ends nothing else changes. If
        this worker is cut off from the server meanwhile, no more than that waits for the end of its lease.
        """
        slots = self._kombu.slots
        if slots is None or self._kombu.qos.one_at_a_time or self._deliveries.free(slots) < slots:
            return 0
        return min(slots, self.size(lease))

    def new(self, lease: Lease, queues: Sequence[str], size: int) -> Claim:
        """A claim of up to ``size`` messages, which takes along the acknowledgements that wait."""
        return self._made(lease, queues, size, lease.acks.take())

    def new_behind_wait(self, lease: Lease, queues: Sequence[str], size: int) -> Claim:
        """A claim that is executed nobody knows when, so no acknowledgement waits for it."""
        return self._made(lease, queues, size, NOTHING, behind=True)

    def _made(
        self, lease: Lease, queues: Sequence[str], size: int, batch: Batch, *, behind: bool = False
    ) -> Claim:
        first = self._next_number
        self._next_number += size  # whatever becomes of it: a number is used once
        lease.queues.update(dict.fromkeys(queues))
        return Claim(lease, tuple(queues), first, size, batch, self._looks, behind)

    def call(self, claim: Claim) -> tuple[list[str], list[Any]]:
        """KEYS and ARGV of ``claim.lua``, which names each."""
        keys, steps, queues = self._keys, self._keys.steps, claim.queues
        turns = int(self._kombu.takes_turns)
        args = [claim.lease.id, claim.size, claim.first, turns, PROMOTE_AT_ONCE, len(queues), len(steps)]
        args += [*self._doubts(claim), claim.lease.received, *steps, *queues, *claim.batch.args()]
        if self._named != queues:
            self._named, self._names = queues, keys.of_queues(queues, steps)
        where = [*claim.lease.owned, keys.paused, *self._names, *lock_keys(keys, claim.batch.locks)]
        return where, args

    def _doubts(self, claim: Claim) -> tuple[int, int]:
        """How many unproven jobs to take, and how many of the others to count as begun.

        One unproven job at a time: if two that returned together from a dead worker ran side by side again, each
        death would also count against the innocent one. And none ahead of its start: others must not wait for it.
        Nor any behind a wait: the worker may be cut off by then, and what it never received counts as begun. So that
        happens to a job only once, and no number of such workers makes it a dead letter.
        """
        slots = self._kombu.slots
        if slots is None:
            return claim.size, -1
        takes = not claim.behind and self.one_can_begin() and not unproven_in_hand()
        return int(takes), self._deliveries.starting_with_claim(slots)

    def one_can_begin(self) -> bool:
        """Whether a message that is claimed now could begin at once."""
        return self._places() > 0

    def _places(self) -> float:
        slots = self._kombu.slots
        return math.inf if slots is None else self._deliveries.free(slots)

    def _makes_room(self) -> bool:
        """Whether the unproven message that was skipped is to begin soon; not while another one runs for long."""
        return monotonic() - self._took_at < AHEAD or not unproven_in_hand()


__all__ = ["Claims"]
