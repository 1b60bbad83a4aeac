"""Threads that make calls for the coroutines of an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lifetime.forks import reset_if_forked, when_forked

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

MOST = 32
"""Calls of one app that are made at a time; further ones wait. A thread is made when all others are busy."""


class Threads:
    """The threads that make the calls of one app, made at the first call."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        when_forked(self)

    def after_fork(self) -> None:
        """In a child: the threads are the parent's."""
        self._executor = None

    def get(self) -> ThreadPoolExecutor:
        """The threads."""
        reset_if_forked()
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(MOST, "nightshift-enqueue")
        return self._executor

    def close(self) -> None:
        """End them when they have made their calls; a later call makes new ones."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


__all__ = ["Threads"]
