"""An orderly stop: take no new jobs, give the running ones a grace period, return the rest at once.

Celery waits without limit for the running jobs. Here a thread waits at most ``NIGHTSHIFT_STOP_GRACE`` and then ends
what still runs. Those jobs stay unacknowledged, so the broker delivers them to other workers. A job that was
acknowledged early has failed this attempt, and its policy decides about a retry.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import threading
from typing import Any

from celery.worker.state import active_requests

from ..domain.events import JobReturned
from ..domain.job import utcnow
from ..errors import NightshiftError

logger = logging.getLogger(__name__)

LAST_SECONDS = 3.0
"""Seconds from the kill of the children until the process exits at once."""


class Drain:
    """The stop of one worker; ``grace`` in seconds."""

    def __init__(self, controller: Any, grace: float) -> None:
        self._controller = controller
        self._grace = grace
        self._done = threading.Event()
        self._begun = False

    def begin(self) -> None:
        """Begin the stop after SIGTERM. The signal handler calls this, so it only starts a thread."""
        if not self._begun:
            self._begun = True
            # threading.Thread waits until it has started, and gevent's hub may not wait
            _thread.start_new_thread(self._watch, ())

    def end(self) -> None:
        """Everything ended within the grace period."""
        self._done.set()

    def _watch(self) -> None:
        logger.info(
            "worker.stopping",
            extra={
                "worker": self._controller.hostname,
                "running": len(active_requests),
                "grace": self._grace,
            },
        )
        if self._done.wait(self._grace):
            return
        self._controller.app.draining = True
        self._mark_channel()
        self._report_returned()
        self._kill_children()
        if self._done.wait(LAST_SECONDS):
            return
        # threads cannot be killed, and a pool may hang in its join; their jobs are unacknowledged
        self._controller.app.settlement.finish()
        with contextlib.suppress(NightshiftError):
            self._controller.app.services.journal.flush(timeout=1.0)
        os._exit(0)

    def _mark_channel(self) -> None:
        """Tell the broker not to count the jobs that return because of the stop: they did not kill their worker."""
        consumer = getattr(getattr(self._controller, "consumer", None), "task_consumer", None)
        if consumer is not None and consumer.channel is not None:
            self._controller.app.services.broker.worker_ends(consumer.channel, crashed=False)

    def _report_returned(self) -> None:
        services = self._controller.app.services
        for request in list(active_requests):
            if getattr(request, "settled", False):
                continue
            why = f"it was still running {self._grace:g} s after the worker was told to stop"
            if request.acknowledged:
                request.give_back(why)
            else:
                request.settled = True
                services.events.emit(JobReturned(request.job, utcnow(), self._controller.hostname, why))

    def _kill_children(self) -> None:
        with contextlib.suppress(Exception):  # Celery's own pool has nothing to say once it has ended
            for pid in self._controller.pool.info.get("processes", ()):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
