"""A parcel: a message too large for a datagram, as a file in memory whose descriptor is sent in its place."""

from __future__ import annotations

import errno
import os
import socket
from array import array

ANCILLARY = socket.CMSG_SPACE(array("i").itemsize)
"""Bytes that a receiver needs for the one descriptor of a parcel."""
FULL = frozenset({
    errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC,
    errno.EDQUOT,
})  # fmt: skip
"""Errors that say that the system has no room at present."""


def send(into: socket.socket, head: bytes, data: bytes) -> None:
    """Send ``head`` with a parcel of ``data``; never waits. Raises ``OSError`` where the system has no room."""
    fd = os.memfd_create("nightshift-parcel")
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        # not socket.send_fds, which ignores its flags
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))]
        into.sendmsg([head], rights, socket.MSG_DONTWAIT)
    finally:
        os.close(fd)


def unwrap(ancillary: bytes) -> bytes:
    """The data of the parcel whose descriptor came as ``ancillary``; closes the descriptor."""
    fds = array("i")
    fds.frombytes(ancillary)
    with open(fds[0], "rb", buffering=0) as file:
        file.seek(0)  # the position is the sender's
        return file.read()


__all__ = ["ANCILLARY", "FULL", "send", "unwrap"]
