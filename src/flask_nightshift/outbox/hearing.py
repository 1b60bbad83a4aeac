"""Hears events of engines and sessions for many followers.

An engine may live longer than an app, and serve many. So each engine and session has our listeners once. They know who
follows it by weak references only.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from sqlalchemy import event

from ..lifetime.forks import when_forked

F = TypeVar("F")


class Audience(Generic[F]):
    """Who follows one engine or session."""

    def __init__(self) -> None:
        self._followers: tuple[weakref.ref[F], ...] = ()

    def add(self, follower: F) -> None:
        """Tell ``follower``, too, and once; forget those that are garbage."""
        others = (each for each in self._followers if each() is not None and each() is not follower)
        self._followers = (*others, weakref.ref(follower))

    def listener(self, method: Callable[..., None]) -> Callable[..., None]:
        """What calls ``method`` of each follower."""

        def tell(*args: Any) -> None:
            for each in self._followers:
                follower = each()
                if follower is not None:
                    method(follower, *args)

        return tell


class Hearing(Generic[F]):
    """Listens to ``events``, the names of SQLAlchemy's events and the methods of a follower that hear them."""

    def __init__(self, events: Mapping[str, Callable[..., None]]) -> None:
        self._events = events
        self._audiences: weakref.WeakKeyDictionary[Any, Audience[F]] = weakref.WeakKeyDictionary()
        self.after_fork()
        when_forked(self)

    def after_fork(self) -> None:
        """In a child process: it inherits what listens, but not the thread that held the lock."""
        self._lock = threading.Lock()

    def follow(self, target: Any, follower: F) -> None:
        """Tell ``follower`` of the events of ``target``, an engine or a session."""
        with self._lock:
            audience = self._audiences.get(target)
            if audience is None:
                audience = Audience()
                for name, method in self._events.items():
                    event.listen(target, name, audience.listener(method))
                self._audiences[target] = audience
            audience.add(follower)


__all__ = ["Audience", "Hearing"]
