"""Celery's pool ``solo``, which runs a job in the thread of the event loop, with heartbeats from another thread.

RabbitMQ closes a connection that is silent for two heartbeats (one minute) and delivers its jobs again, although their
worker is alive (invariant 5). A long job would run twice. If all workers were solo, it would run again and again until
it was buried.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.solo import TaskPool

from ..fence import StartFence
from .support import Support

BEATS = 3
"""Heartbeats that the thread sends per heartbeat interval."""


class JobSolo(TaskPool):
    """The pool of ``--pool solo`` in our workers."""

    takes_back = calls_in_loop = True
    """As in ``JobPool``. No job waits in the pool: what it has not begun, the broker's transport returns."""
    unstarted = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_up()

    def set_up(self) -> None:
        """Take the calls for jobs, instead of Celery's pool."""
        self.on_apply = self._apply
        self._connection: Any = None
        self._working = False

    def keep_alive(self, connection: Any, fence: StartFence) -> None:
        """Keep kombu's ``connection`` open while a job runs, if it uses heartbeats; each pulses ``fence``."""
        every = (connection.get_heartbeat_interval() or 0) / BEATS
        self._connection = connection = connection.connection
        if every:
            threading.Thread(
                target=self._beat, args=(connection, every, fence), name="nightshift-pulse", daemon=True
            ).start()

    def _beat(self, connection: Any, every: float, fence: StartFence) -> None:
        while connection is self._connection:
            time.sleep(every)
            if self._working:
                fence.pulse()
                with contextlib.suppress(Exception):  # the event loop will notice
                    connection.send_heartbeat()

    def _apply(self, target: Callable[..., Any], *args: Any, **options: Any) -> None:
        def work(*given: Any) -> Any:
            self._working = True
            try:
                return target(*given)
            finally:
                self._working = False

        apply_target(work, *args, **options)


def _keep_alive(pool: Any, connection: Any, fence: StartFence) -> None:
    if isinstance(pool, JobSolo):  # a user's own may extend Celery's
        pool.keep_alive(connection, fence)


SUPPORT = Support(JobSolo, keep_alive=_keep_alive)
