"""A child's ring: how its jobs ended. It survives the child.

The child writes an end here before it takes another job; the parent reads the ring before it judges a child that is
dead or late. So it never takes a job that has ended for one that its child still runs.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from .memory import barrier, shared_bytes, shared_words

SIZE = 64 * 1024
"""Bytes of a ring."""
LARGEST = SIZE // 4
"""Bytes of the largest body that travels in a ring."""
_HEAD = Struct("=QQQII")
_UNIT = _HEAD.size
_WRITTEN, _READ = range(2)


class Kind(IntEnum):
    """How a job ended."""

    SKIP = 0
    """No job: the rest of the ring is left out."""
    RETURNED = 1
    RAISED = 2
    """``run`` raised, which it should not; the body is the traceback."""
    REFUSED = 3
    """It did not start: the parent had taken it back."""
    PARCEL = 4
    """As RETURNED; the body comes, or came, by ``reports``."""
    UNREPORTED = 5
    """The body returned, but what it said of its end is lost: the child died too early, or a parcel did not arrive."""
    OPEN_PARCEL = 6
    """As PARCEL, of a job that may have to run again, for example because it failed."""


class End(NamedTuple):
    """An end in a ring; ``started`` and ``runtime`` in nanoseconds."""

    ticket: int
    kind: Kind
    started: int
    runtime: int
    body: bytes


_KINDS = tuple(Kind)


class Ring:
    """Records of a head and a body, in units of the head's size, so that a head never wraps around."""

    def __init__(self) -> None:
        self._data = shared_bytes(SIZE)
        self._at = shared_words(2)

    def put(self, end: End) -> bool:
        """The child's side: write ``end``; False if there is no room yet. The body has at most ``LARGEST`` bytes."""
        size = _UNIT + -(-len(end.body) // _UNIT) * _UNIT
        written = self._at[_WRITTEN]
        offset = written % SIZE
        skipped = SIZE - offset if offset + size > SIZE else 0
        if written + skipped + size - self._at[_READ] > SIZE:
            return False
        if skipped:
            _HEAD.pack_into(self._data, offset, 0, 0, 0, Kind.SKIP, 0)
            offset = 0
        ticket, kind, started, runtime, body = end
        _HEAD.pack_into(self._data, offset, ticket, started, runtime, kind, len(body))
        if body:
            self._data[offset + _UNIT : offset + _UNIT + len(body)] = body
        barrier()
        self._at[_WRITTEN] = written + skipped + size
        return True

    def take(self) -> list[End]:
        """The parent's side: the ends that were written since the last call."""
        read, written = self._at[_READ], self._at[_WRITTEN]
        if read == written:
            return []
        barrier()
        ends = []
        while read < written:
            offset = read % SIZE
            ticket, started, runtime, kind, length = _HEAD.unpack_from(self._data, offset)
            if kind == Kind.SKIP:
                read += SIZE - offset
                continue
            body = bytes(self._data[offset + _UNIT : offset + _UNIT + length]) if length else b""
            ends.append(End(ticket, _KINDS[kind], started, runtime, body))
            read += _UNIT + -(-length // _UNIT) * _UNIT
        barrier()
        self._at[_READ] = read
        return ends


__all__ = ["LARGEST", "SIZE", "End", "Kind", "Ring"]
