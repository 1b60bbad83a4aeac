"""A worker's sign of life: one row in the database, written from a thread of its own every few seconds.

The row also says when the consumer's loop last turned, so that a worker whose loop is stuck is told apart
from one that lives. Only watches: with the database away the worker goes on (invariant 7).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from datetime import timedelta
from importlib.metadata import version
from time import monotonic
from typing import Any

from celery.worker.state import active_requests

from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..services import Services
from ..store import heartbeats
from .pools import pool_of

logger = logging.getLogger(__name__)

INTERVAL = 3.0
"""Seconds between two signs of life; a worker not seen for 15 s counts as gone."""


class Heartbeat:
    """Reports one worker until ``stop()``. ``controller`` is Celery's ``WorkController``."""

    def __init__(self, services: Services, controller: Any) -> None:
        self._services = services
        self._controller = controller
        self._started_at = utcnow()
        self._stopping = threading.Event()
        self._away = False
        self._thread = threading.Thread(target=self._run, name="nightshift-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to report."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reporting and take the row away: this worker is gone on purpose."""
        self._stopping.set()
        self._thread.join(timeout=5)
        try:
            heartbeats.forget(self._services.store, self._controller.hostname)
        except DatabaseUnavailable:
            logger.debug("the worker's row stays until it is stale: the database is away")

    def _run(self) -> None:
        while True:
            try:
                heartbeats.beat(self._services.store, self._now())
                self._note(None)
            except DatabaseUnavailable as exc:
                self._note(exc)
            except Exception:
                logger.exception("the heartbeat failed; the worker goes on")
            if self._stopping.wait(INTERVAL):
                return

    def _now(self) -> heartbeats.WorkerBeat:
        controller, now = self._controller, utcnow()
        consumer = getattr(controller, "consumer", None)
        loop_at = getattr(consumer, "loop_at", None)
        return heartbeats.WorkerBeat(
            name=controller.hostname,
            hostname=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            seen_at=now,
            loop_at=now - timedelta(seconds=monotonic() - loop_at)
            if loop_at is not None
            else self._started_at,
            pool=pool_of(type(controller.pool)).name,
            concurrency=int(getattr(controller.pool, "num_processes", 0) or 0),
            queues=sorted(controller.app.amqp.queues.consume_from),
            busy=[_busy(request) for request in list(active_requests)],
            version=version("Flask-Nightshift"),
        )

    def _note(self, exc: DatabaseUnavailable | None) -> None:
        if exc is not None and not self._away:
            logger.warning("worker.database_away", extra={"why": str(exc)})
        elif exc is None and self._away:
            logger.info("worker.database_back")
        self._away = exc is not None


def _busy(request: Any) -> dict[str, Any]:
    limit = request.time_limits[0] or request.task.time_limit
    return {"job_id": request.id, "task": request.name, "started_at": request.time_start, "time_limit": limit}
