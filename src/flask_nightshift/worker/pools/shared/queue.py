"""The queue that all children read: one socket, in which the kernel gives each datagram to exactly one of them.

An idle child takes the next job at once, without the parent's turn. What no child has taken survives the death of any
of them. The queue never blocks the parent: what it does not take the parent keeps.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from struct import Struct, pack
from typing import NamedTuple

from . import parcel

LARGEST = 64 * 1024
"""Bytes of the largest datagram; what is larger travels as a parcel."""
LOOK_AGAIN = 5
"""Seconds after which a child that waits asks ``leaves``: a signal that came just before it waited has not woken it."""
_HEAD = Struct("=Q")
_LEAVE, _NUDGE = 0, 1


def _never() -> bool:
    return False


class Taken(NamedTuple):
    """A job that a child has taken. ``announce``: the parent waits for its start."""

    ticket: int
    announce: bool
    payload: bytes


class JobQueue:
    """Both ends; each process closes the other's."""

    def __init__(self) -> None:
        self._into, self._out = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("@ll", LOOK_AGAIN, 0))
        self._buffer = memoryview(bytearray(LARGEST))

    # -- the parent's side ---------------------------------------------------------------------------------

    def put(self, ticket: int, payload: bytes, *, announce: bool = False) -> bool:
        """Hand out a job; False if the socket takes no more now. ``ticket`` is greater than all before.

        Raises ``OSError`` if the system never takes such a message.
        """
        head = _HEAD.pack(ticket << 1 | announce)
        try:
            if len(payload) + _HEAD.size <= LARGEST:
                return self._send(head + payload)
        except OSError as exc:
            if exc.errno != errno.EMSGSIZE:  # larger than the system's send buffers
                raise
        try:
            parcel.send(self._into, head, payload)
        except OSError as exc:
            return _is_full(exc)
        return True

    def leave(self) -> bool:
        """Ask one child, whichever reads it, to leave; False if the socket takes no more now."""
        return self._send(_HEAD.pack(_LEAVE))

    def nudge(self) -> bool:
        """Wake one child that waits, so that it looks; False if the socket takes no more now.

        The kernel wakes one child for one datagram. One that is frozen just then takes nothing, and wakes no other.
        """
        return self._send(_HEAD.pack(_NUDGE))

    def head(self) -> int | None:
        """The ticket that is taken next: all before it were taken. None if the socket is empty, 0 if not known."""
        try:
            data = self._out.recv(_HEAD.size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        (word,) = _HEAD.unpack(data)
        return int(word >> 1)

    def _send(self, data: bytes) -> bool:
        try:
            self._into.send(data, socket.MSG_DONTWAIT)
        except OSError as exc:
            return _is_full(exc)
        return True

    # -- a child's side ------------------------------------------------------------------------------------

    def take(self, *, wait: bool, leaves: Callable[[], bool] = _never) -> Taken | None:
        """The next job; None if the child is to leave, or the parent is gone. It asks ``leaves`` now and then.

        Raises ``BlockingIOError`` if there is none and ``wait`` is false, ``OSError`` if the message is not whole.
        A child waits in the system call and nowhere else: a poll would wake all of them for one job.
        """
        word = _NUDGE
        while word == _NUDGE:
            if leaves():
                return None
            try:
                size, ancillary, flags, _ = self._out.recvmsg_into(
                    [self._buffer], parcel.ANCILLARY, 0 if wait else socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                if wait:
                    continue
                raise
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise OSError(errno.EMSGSIZE, "a job arrived cut off")
            if not size:
                return None
            (word,) = _HEAD.unpack_from(self._buffer)
        if word == _LEAVE:
            return None
        whole = parcel.unwrap(ancillary[0][2]) if ancillary else bytes(self._buffer[_HEAD.size : size])
        return Taken(word >> 1, bool(word & 1), whole)

    # -- either --------------------------------------------------------------------------------------------

    def close_parents_end(self) -> None:
        """In a child: so that the queue ends with the parent."""
        self._into.close()

    def close(self) -> None:
        """Close both ends."""
        self._into.close()
        self._out.close()


def _is_full(exc: OSError) -> bool:
    """False if ``exc`` says that there is no room at present; raises it if it says anything else."""
    if exc.errno in parcel.FULL:
        return False
    raise exc


__all__ = ["LARGEST", "JobQueue", "Taken"]
