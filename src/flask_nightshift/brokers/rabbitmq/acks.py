"""Acknowledgements of a worker's jobs, written together at the end of a turn of its event loop.

Each frame costs the worker a system call, and makes work for the broker. Where all deliveries up to one are settled, a
single frame acknowledges them all (``multiple``); a delivery that is not settled is never acknowledged with others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from time import monotonic
from typing import Any

from amqp import spec

from .frames import METHOD, frame

LONGEST = 0.01
"""Seconds for which an acknowledgement may wait while others come, as with the lease transport."""
_SETTLING = (spec.Basic.Ack, spec.Basic.Nack, spec.Basic.Reject)
_ACK = Struct(">HHQB").pack
_settled = Struct(">QB").unpack


class Outstanding:
    """The deliveries of one channel that are not settled."""

    def __init__(self) -> None:
        self._tags: dict[int, None] = {}  # in ascending order

    def add(self, tag: int) -> None:
        """A delivery has arrived."""
        self._tags[tag] = None

    def settle(self, tag: int, *, multiple: bool) -> None:
        """The delivery ``tag``, or with ``multiple`` each one up to it, is settled."""
        for settled in [each for each in list(self._tags) if each <= tag] if multiple else [tag]:
            self._tags.pop(settled, None)

    def acks(self, tags: Iterable[int]) -> Iterator[tuple[int, bool]]:
        """The fewest acknowledgements, as ``(tag, multiple)``, of the deliveries ``tags``, which are then settled."""
        todo = sorted(tags)
        for tag in todo:
            self._tags.pop(tag, None)
        oldest = next(iter(self._tags), None)
        together = [tag for tag in todo if oldest is None or tag < oldest]
        if len(together) > 1:
            yield together[-1], True
            todo = todo[len(together) :]
        for tag in todo:
            yield tag, False


class HeldAcks:
    """The acknowledgements of one connection that wait for the end of the loop's turn.

    Only the loop's thread holds them back, and only those of channels that were opened after this began, whose
    deliveries are all known. All methods but ``delivered`` need the writer's lock.
    """

    def __init__(self, call_soon: Callable[[], Any]) -> None:
        self._call_soon = call_soon
        self._thread = threading.get_ident()
        self._channels: dict[int, Outstanding] = {}
        self._held: dict[int, list[int]] = {}
        self._since = 0.0

    def delivered(self, channel: int, tag: int) -> None:
        """A delivery has arrived that must be settled."""
        if channel in self._channels:
            self._channels[channel].add(tag)

    def hold(self, channel: int, args: bytes) -> bool:
        """Hold back a ``basic.ack`` with these arguments; False if it has to be written at once."""
        tag, multiple = _settled(args)
        if multiple or channel not in self._channels or threading.get_ident() != self._thread:
            return False
        if not self._held:
            self._since = monotonic()
            self._call_soon()
        elif monotonic() - self._since > LONGEST:
            return False
        self._held.setdefault(channel, []).append(tag)
        return True

    def take(self) -> bytes:
        """The frames of what is held, which is then settled; the caller writes them at once."""
        held, self._held = self._held, {}
        return b"".join(
            frame(METHOD, channel, _ACK(*spec.Basic.Ack, tag, multiple))
            for channel, tags in held.items()
            for tag, multiple in self._channels[channel].acks(tags)
        )

    def wrote(self, channel: int, method: tuple[int, int], args: bytes) -> None:
        """A method was written that may settle deliveries, or open a channel."""
        if method == spec.Channel.Open:
            self._channels[channel] = Outstanding()
        elif method in _SETTLING and channel in self._channels:
            tag, bits = _settled(args)
            self._channels[channel].settle(tag, multiple=method != spec.Basic.Reject and bool(bits & 1))


__all__ = ["LONGEST", "HeldAcks", "Outstanding"]
