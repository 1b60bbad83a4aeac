"""Objects that are made before a server forks and used after it.

Threads do not survive a fork, connections must not be shared over it, and a lock that another thread held
would be held for ever in the child. So each object says how to begin anew there.

Two servers need more than Python's own hook: uWSGI forks without calling it, and ``gunicorn --preload -k gevent``
replaces Python's threads after the fork. A lock made before that is no lock between greenlets. So whoever uses
such an object calls ``settle_in()`` first.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Forkable(Protocol):
    """Something that has threads, connections or locks."""

    def after_fork(self) -> None:
        """Begin anew, in a child process; must not wait for a lock."""


_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()


def when_forked(forkable: Forkable) -> None:
    """Have ``forkable.after_fork()`` called in each child process for as long as the object lives."""
    _objects.add(forkable)


def settle_in() -> None:
    """Begin anew if this process is a child that Python was not told of, or gevent has replaced its threads."""
    if _home != _where():
        with _settling:  # several threads may be the first; an RLock, since greenlets would wait for ever
            if _home != _where():
                _begin_anew()


class Own(Generic[T]):
    """One ``T`` for each thread or greenlet, made by ``make`` when it is first asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """What the parent made is the parent's. ``threading.local`` is gevent's where gevent replaced it."""
        self._mine = threading.local()

    def get(self) -> T:
        """The one of this thread or greenlet."""
        settle_in()
        found: T | None = getattr(self._mine, "value", None)
        if found is None:
            found = self._mine.value = self._make()
        return found


def _where() -> tuple[int, object]:
    """The process, and the kind of its threads: gevent puts its own lock in the place of Python's."""
    return os.getpid(), threading.Lock


def _begin_anew() -> None:
    global _home
    for forkable in list(_objects):
        forkable.after_fork()
    _home = _where()


def _in_child() -> None:
    global _settling
    _settling = threading.RLock()
    _begin_anew()


_settling = threading.RLock()
_home = _where()
os.register_at_fork(after_in_child=_in_child)

__all__ = ["Forkable", "Own", "settle_in", "when_forked"]
