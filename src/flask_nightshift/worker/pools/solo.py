"""Celery's pool ``solo``, which runs a job in the thread of the event loop, with a pulse meanwhile.

RabbitMQ closes a connection that says nothing for two of its heartbeats, a minute, and gives the job out again, though
its worker lives (invariant 5). It would run twice; where all workers are solo, again and again, until it is buried.
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

BEATS = 3
"""Signs of life in the time of one heartbeat."""


class JobSolo(TaskPool):
    """What ``--pool solo`` is in our workers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.on_apply = self._apply
        self._connection: Any = None
        self._working = False

    def keep_alive(self, connection: Any, fence: StartFence) -> None:
        """Have this connection (kombu's) stay open while a job runs, if it needs heartbeats for that."""
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
