"""Find queues in which jobs wait but that no worker consumes, for example because of a misspelt name.

``flask jobs stats`` and ``flask jobs doctor`` ask the history which queues have jobs besides those that the
configuration names. A process that enqueues into a queue that nothing names logs one warning.
"""

from __future__ import annotations

import difflib
import logging
from collections import deque
from collections.abc import Iterable

from ..background.loop import Backoff, Loop, Work
from ..domain.events import JobEnqueued
from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..journal import waiting_queues
from ..message.burial import DEAD_QUEUE
from ..services import Services
from ..store import heartbeats
from ..text.lines import Line

logger = logging.getLogger("flask_nightshift.unheard")

MOST = 20
"""Maximum number of undeclared queues to show."""


def queues(services: Services) -> tuple[str, ...]:
    """Queues besides ``services.queues()`` in which jobs wait, as the history knows; raises ``DatabaseUnavailable``."""
    found = waiting_queues(services.store) - {*services.queues(), DEAD_QUEUE}
    return tuple(sorted(found)[:MOST])


def near(queue: str, names: Iterable[str]) -> str:
    """`` Did you mean …?`` if ``names`` contains a name similar to ``queue``, else an empty text."""
    found = difflib.get_close_matches(queue, set(names) - {queue}, n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


class Watch(Work):
    """Observes what this process enqueues, and warns once of each queue that no worker consumes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: set[str] = set()
        self._new: deque[str] = deque()
        self._loop = Loop(self, "nightshift-unheard", Backoff(1.0, 30.0), lingers=False)

    def __call__(self, event: JobEnqueued) -> None:
        """Called for each job; looks in another thread, once for each queue."""
        queue = event.job.queue
        if queue not in self._seen and len(self._seen) < 1000:
            self._seen.add(queue)
            self._new.append(queue)
            self._loop.wake()

    def turn(self) -> None:
        """Look for consumers of each new queue."""
        while self._new:
            self._look(self._new.popleft())

    def failed(self) -> None:
        """The queue is not looked at again."""
        logger.exception("queue.look_failed")

    def _look(self, queue: str) -> None:
        if queue in self._services.queues():
            return
        try:
            workers = heartbeats.workers(self._services.store, utcnow())
        except DatabaseUnavailable:
            return
        consumed = {name for worker in workers for name in worker.queues}
        if queue not in consumed:
            hint = near(queue, {*consumed, *self._services.queues()})
            text = f"no worker consumes {queue!r}, and neither a task nor NIGHTSHIFT_QUEUES names it.{hint}"
            logger.warning(Line("queue.unheard", text, queue=queue))


__all__ = ["Watch", "near", "queues"]
