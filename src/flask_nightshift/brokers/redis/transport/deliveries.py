"""What a consumer was given and has not settled: which lease each message is held under, and which jobs have begun.

A delivery tag is the number under which a message is leased. A lease can outlive the channel that filled it, so each
delivery remembers its own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from redis.exceptions import RedisError

from .lease import Lease
from .starting import Starts

_COUNTED = re.compile(rb'\s*{\s*"x-delivery-count":\s*[1-9]')  # as in shared.lua


class Claimed(NamedTuple):
    """A message in our lease that was not delivered yet. ``at`` is the server's time of the claim, in unix seconds.

    ``noted``: the claim counted it as begun.
    """

    lease: Lease
    number: int
    queue: str
    raw: bytes
    at: float
    noted: bool = False

    @property
    def unproven(self) -> bool:
        """Whether an earlier delivery of it began and never ended."""
        return _COUNTED.match(self.raw) is not None


class Delivery(NamedTuple):
    """The lease under which a delivered message is held, and the queue that it came from."""

    lease: Lease
    queue: str


class Deliveries:
    """The unsettled deliveries of one channel, by delivery tag.

    ``settled`` is called after each that ends; ``coming(count)`` gives up to ``count`` messages that come next.
    """

    def __init__(
        self, settled: Callable[[], None], coming: Callable[[int], list[Claimed]], *, ahead: bool
    ) -> None:
        self._settled = settled
        self._held: dict[int, Delivery] = {}
        self._starts = Starts(
            lambda count: [each.number for each in coming(count) if not each.noted and not each.unproven],
            ahead=ahead,
        )

    def add(self, claimed: Claimed, *, unproven: bool) -> None:
        """``claimed`` is about to be delivered; ``unproven``: it has begun before and was never settled."""
        self._held[claimed.number] = Delivery(claimed.lease, claimed.queue)
        self._starts.delivered(claimed.number, noted=claimed.noted, unproven=unproven)

    def get(self, tag: int) -> Delivery | None:
        """The delivery with this tag; None if it is settled or not ours."""
        return self._held.get(tag)

    def under(self, lease: Lease) -> set[int]:
        """The tags of what is held under ``lease``."""
        return {tag for tag, delivery in self._held.items() if delivery.lease is lease}

    def free(self, slots: int) -> int:
        """How many more jobs can begin now, when ``slots`` can run at once; less than 0 if some wait already."""
        return slots - len(self._held)

    def starting_with_claim(self, slots: int) -> int:
        """How many messages a claim is to count as begun, when ``slots`` jobs can run at once."""
        return self._starts.with_claim(self.free(slots))

    # while it is ours
    def holds(self, tag: int) -> bool:
        """Whether a delivery is still leased to us; asks the server if that is in doubt.

        False also when the server cannot be asked: then the message has been returned, or another consumer holds it.
        """
        delivery = self._held.get(tag)
        try:
            if delivery is not None:
                delivery.lease.verify()
        except (RedisError, OSError):
            return False
        return delivery is not None

    def has(self, tag: int) -> bool:
        """Whether a delivery is leased to us, as far as we know without asking the server."""
        delivery = self._held.get(tag)
        return delivery is not None and delivery.lease.holds(tag)

    def begin(self, tag: int) -> bool:
        """Have a delivery counted, because its job begins now; False if it is no longer ours.

        Raises what redis-py does; then the job must not begin.
        """
        if not self.holds(tag):
            return False
        lease = self._held[tag].lease
        return not lease.tells_starts or self._starts.begin(tag, lease.note_begun)

    # its end
    def let_go(self, tag: int) -> Delivery | None:
        """A delivery ends; what we knew of it, None if it is not ours (any more)."""
        self._starts.forget(tag)
        delivery = self._held.pop(tag, None)
        self._settled()
        return delivery

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery."""
        if delivery := self.let_go(tag):
            delivery.lease.ack(delivery.queue, tag)

    def give_back(self, tag: int, *, counted: bool) -> bool:
        """Return a delivery to the head of its queue; False if it is not ours."""
        delivery = self._held.get(tag)
        if delivery is None:
            return False
        delivery.lease.give_back([tag], counted=counted)
        self.let_go(tag)
        return True

    def give_back_uncounted(self, tags: Iterable[int]) -> None:
        """Return deliveries that did not begin, with one command for each lease."""
        by_lease: dict[Lease, list[int]] = {}
        for tag in tags:
            if delivery := self.let_go(tag):
                by_lease.setdefault(delivery.lease, []).append(tag)
        for lease, numbers in by_lease.items():
            lease.give_back(numbers, counted=False)

    def return_unstarted(self, tags: Iterable[int]) -> list[int]:
        """The same, but what could not be returned stays ours; returns what is gone."""
        by_lease: dict[Lease, list[int]] = {}
        for tag in tags:
            if delivery := self._held.get(tag):
                by_lease.setdefault(delivery.lease, []).append(tag)
        for lease, numbers in by_lease.items():
            lease.give_back(numbers, counted=False)
            for number in numbers:
                self.let_go(number)
        return [number for numbers in by_lease.values() for number in numbers]

    def count_what_may_have_crashed(self, lease: Lease) -> None:
        """The worker crashed: return what it held under ``lease``, and count what may have been the cause.

        A message need not begin to end its worker. If one of those held has begun before, it was that one.
        """
        held = list(self.under(lease))
        doubtful = [tag for tag in held if self._starts.is_unproven(tag)]
        with contextlib.suppress(RedisError, OSError):
            lease.note_begun(doubtful or held)
            lease.give_back(held, counted=True)


__all__ = ["Claimed", "Deliveries", "Delivery"]
