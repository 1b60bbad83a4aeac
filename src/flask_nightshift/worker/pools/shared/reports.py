"""What children send their parent: the news that there is something to read in their rings, and large bodies of ends.

The news is one counter for all children: writing to it never blocks, and many news wake the parent once. The end itself
is in the ring, so no end depends on the news.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress
from struct import Struct

from . import parcel
from .ring import End, Kind

AGAIN = 0.005
"""Seconds until a child tries again to send what the system refused."""
GIVE_UP = 1.0
"""Seconds after which a child that cannot open one more file gives a body up: only it could close one."""
_HEAD = Struct("=Q")
_PARCELS = frozenset({Kind.PARCEL, Kind.OPEN_PARCEL})


class Reports:
    """Both ends; each process closes the other's."""

    def __init__(self) -> None:
        self.news = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """The descriptor to watch for news."""
        self.parcels, self._child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.parcels.setblocking(False)
        self._bodies: dict[int, bytes] = {}

    # -- a child's side ------------------------------------------------------------------------------------

    def tell(self) -> None:
        """Have the parent look; the parent itself uses it to be called again."""
        with suppress(BlockingIOError):  # the counter is full of news
            os.eventfd_write(self.news, 1)

    def send(self, ticket: int, body: bytes) -> bool:
        """Send the body of an end, which the ring announces afterwards; waits while the parent does not read.

        False if this process may open no more files for ``GIVE_UP`` seconds: then the end is announced without a body.
        """
        give_up = time.monotonic() + GIVE_UP
        while True:
            try:
                parcel.send(self._child, _HEAD.pack(ticket), body)
            except OSError as exc:
                if exc.errno not in parcel.FULL:
                    raise
                if exc.errno == errno.EMFILE and time.monotonic() >= give_up:
                    return False
                self.tell()
                time.sleep(AGAIN)
            else:
                return True

    def close_parents_end(self) -> None:
        """In a child: so that a child whose parent is gone does not wait for it."""
        self.parcels.close()

    # -- the parent's side ---------------------------------------------------------------------------------

    def clear(self) -> None:
        """Reset the counter of news."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.news)

    def receive(self) -> None:
        """Read the bodies that have come."""
        while True:
            try:
                data, ancillary, _, _ = self.parcels.recvmsg(_HEAD.size, parcel.ANCILLARY)
            except BlockingIOError:
                return
            if ancillary:
                (ticket,) = _HEAD.unpack(data)
                self._bodies[ticket] = parcel.unwrap(ancillary[0][2])

    def body(self, ticket: int) -> bytes | None:
        """The body of the end of ``ticket``, once; None if none came (this process could not open one more file)."""
        if ticket not in self._bodies:
            self.receive()
        return self._bodies.pop(ticket, None)

    def whole(self, end: End) -> End:
        """``end`` with the body that was sent apart from it.

        Without a body, a final end is ``UNREPORTED``, and any other one stays an ``OPEN_PARCEL``.
        """
        if end.kind not in _PARCELS:
            return end
        body = self.body(end.ticket)
        if body is not None:
            return end._replace(kind=Kind.RETURNED, body=body)
        return end._replace(kind=Kind.UNREPORTED) if end.kind is Kind.PARCEL else end

    def close(self) -> None:
        """Close both ends."""
        os.close(self.news)
        self.parcels.close()
        self._child.close()


__all__ = ["Reports"]
