"""Reset objects that are created before a server forks and used afterwards.

Threads do not survive a fork, processes must not share connections, and a lock that another thread held stays locked
for ever in the child. So each object says how to reset itself there.

Python's own hook is not enough for two servers: uWSGI forks without calling it, and ``gunicorn --preload -k gevent``
replaces Python's threads after the fork. A lock created before that does not lock between greenlets. So the users of
such an object call ``reset_if_forked()`` first.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .process import pid

T = TypeVar("T")


class Forkable(Protocol):
    """An object that has threads, connections or locks."""

    def after_fork(self) -> None:
        """Reset the object in a child process, without waiting for a lock."""


_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()


def when_forked(forkable: Forkable) -> None:
    """Call ``forkable.after_fork()`` in each child process as long as the object lives."""
    _objects.add(forkable)


def reset_if_forked() -> None:
    """Reset if this process is a child that Python does not know of, or if gevent has replaced its threads."""
    if _home[0] != pid() or _home[1] is not threading.Lock:  # called for each event: no tuple, no call
        with _settling:  # several threads may arrive first; an RLock, because greenlets would wait for ever
            if _home != _where():
                _begin_anew()


class Own(Generic[T]):
    """One ``T`` for each thread or greenlet, created by ``make`` on first use."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """Forget the parent's objects; ``threading.local`` is gevent's if gevent replaced it."""
        self._mine = threading.local()

    def get(self) -> T:
        """The object of this thread or greenlet."""
        reset_if_forked()
        found: T | None = getattr(self._mine, "value", None)
        if found is None:
            found = self._mine.value = self._make()
        return found


def _where() -> tuple[int, object]:
    """The process and the kind of its threads, because gevent replaces Python's lock by its own."""
    return pid(), threading.Lock


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

__all__ = ["Forkable", "Own", "reset_if_forked", "when_forked"]
