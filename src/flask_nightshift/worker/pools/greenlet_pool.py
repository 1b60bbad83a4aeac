"""The pool of ``--pool gevent`` in our workers: Celery's, with a line for the jobs that wait for a free greenlet.

Celery's pool blocks the event loop while all greenlets are busy. Importing this module imports gevent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.concurrency.gevent import TaskPool

from .waiting import GivesBack, WaitingJob


class JobGreenlets(GivesBack, TaskPool):
    """Celery's pool of greenlets, which gives back what no greenlet has begun."""

    def on_start(self) -> None:
        """Prepare; ``Waiting`` counts the places, so the group of greenlets has no bound of its own."""
        super().on_start()
        self._pool = self.Pool()
        self._quick_put = self._pool.spawn

    def on_apply(self, target: Callable[..., Any], args: Any = (), kwargs: Any = None, **told: Any) -> Any:
        """Have a greenlet make the call as soon as there is a place; returns that greenlet, None if it waits."""
        if self._state == self.RUN and self._waiting.put(WaitingJob(target, args, kwargs, told)):
            return self._fill_place()
        return None

    def _fill_place(self, *_: Any) -> Any:
        """Begin the next job in a place that is free; it may be called in gevent's hub, so it must not wait."""
        while (job := self._waiting.take()) is not None:
            if not job.is_revoked:
                greenlet = super().on_apply(job.target, job.args, job.kwargs, **job.told)
                greenlet.link(self._fill_place)
                return greenlet
            self._quick_put(job.come_back)
        return None

    def grow(self, n: int = 1) -> None:
        """Have ``n`` more places."""
        self.limit += n
        for _ in range(self._waiting.change(n)):
            self._fill_place()

    def shrink(self, n: int = 1) -> None:
        """Have ``n`` fewer places; what runs goes on."""
        self.limit -= n
        self._waiting.change(-n)


__all__ = ["JobGreenlets"]
