"""Queues in which jobs wait and that no worker consumes: a misspelt one looks like any other to a broker.

Three look for them: ``flask jobs stats`` and ``flask jobs doctor`` ask the history which queues have jobs besides
those that the configuration names, and whoever enqueues into a queue that nothing names gets one line in the log.
"""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Iterable

from ..domain.events import JobEnqueued, JobEvent
from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..journal import waiting_queues
from ..message.burial import DEAD_QUEUE
from ..services import Services
from ..store import heartbeats
from ..text.lines import Line

logger = logging.getLogger("flask_nightshift.unheard")

MOST = 20
"""Queues of names that nothing declares and that are shown."""


def queues(services: Services) -> tuple[str, ...]:
    """Those besides ``services.queues()`` in which the history knows jobs that wait; raises ``DatabaseUnavailable``."""
    found = waiting_queues(services.store) - {*services.queues(), DEAD_QUEUE}
    return tuple(sorted(found)[:MOST])


def near(queue: str, names: Iterable[str]) -> str:
    """`` Did you mean …?``, if one of ``names`` is nearly ``queue``; else nothing."""
    found = difflib.get_close_matches(queue, set(names) - {queue}, n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


class Watch:
    """Observes what this process enqueues, and warns once of each queue that no worker consumes."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: set[str] = set()

    def __call__(self, event: JobEvent) -> None:
        """Called for each event; asks nobody in the caller's thread, and not twice for one queue."""
        queue = event.job.queue
        if queue in self._seen:
            return
        if isinstance(event, JobEnqueued) and len(self._seen) < 1000:
            self._seen.add(queue)
            threading.Thread(target=self._look, args=(queue,), name="nightshift-unheard", daemon=True).start()

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
