"""The leases of this process: a fork does not inherit them, and they are released when the process ends."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Protocol


class Living(Protocol):
    """A lease, as far as its process is concerned."""

    def forked(self) -> None:
        """In a child: the lease is the parent's."""

    def release(self) -> None:
        """The process ends."""


_LEASES: weakref.WeakSet[Living] = weakref.WeakSet()


def add(lease: Living) -> None:
    """``lease`` has begun."""
    _LEASES.add(lease)


def _after_fork() -> None:
    for lease in list(_LEASES):
        lease.forked()
    _LEASES.clear()


def _at_exit() -> None:
    for lease in list(_LEASES):
        lease.release()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)

__all__ = ["add"]
