"""Objects that are made before a server forks and used after it.

Threads do not survive a fork, connections must not be shared over it, and a lock that another thread held
would be held for ever in the child. So each object says how to begin anew there.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that has threads, connections or locks."""

    def after_fork(self) -> None:
        """Begin anew, in a child process; must not wait for a lock."""


_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()


def when_forked(forkable: Forkable) -> None:
    """Have ``forkable.after_fork()`` called in each child process for as long as the object lives."""
    _objects.add(forkable)


def _in_child() -> None:
    for forkable in list(_objects):
        forkable.after_fork()


os.register_at_fork(after_in_child=_in_child)

__all__ = ["Forkable", "when_forked"]
