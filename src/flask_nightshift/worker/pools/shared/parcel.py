"""A parcel: a message too large for a datagram, as a file in memory whose descriptor is sent in its place."""

from __future__ import annotations

import os


def wrap(data: bytes) -> int:
    """A descriptor of a file in memory with ``data`` in it; the caller closes it."""
    fd = os.memfd_create("nightshift-parcel")
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def unwrap(fd: int) -> bytes:
    """What is in the file; closes ``fd``."""
    with open(fd, "rb", buffering=0) as file:
        file.seek(0)  # the offset is shared with the sender
        return file.read()


__all__ = ["unwrap", "wrap"]
