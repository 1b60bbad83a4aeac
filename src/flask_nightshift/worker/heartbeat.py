"""A worker's heartbeat: one row in the database, which a thread writes every few seconds.

The row also says when the consumer's loop last ran, which tells a worker whose loop is stuck from a healthy one. While
the database is down, the worker continues (invariant 7).
"""

from __future__ import annotations

import logging
import os
import socket
from datetime import timedelta
from importlib.metadata import version
from time import monotonic
from typing import Any

from celery.worker.state import active_requests

from ..background.loop import Backoff, Loop, Work
from ..domain.job import utcnow
from ..errors import DatabaseUnavailable
from ..services import Services
from ..store import heartbeats
from .pools import pool_of

logger = logging.getLogger(__name__)

INTERVAL = 3.0
"""Seconds between two heartbeats; ``heartbeats.FRESH`` says when a worker counts as gone."""


class Heartbeat(Work):
    """Reports one worker until ``stop()``. ``controller`` is Celery's ``WorkController``."""

    def __init__(self, services: Services, controller: Any) -> None:
        self._services = services
        self._controller = controller
        self._started_at = utcnow()
        self._loop = Loop(self, "nightshift-heartbeat", Backoff(INTERVAL, INTERVAL))

    def start(self) -> None:
        """Begin to report."""
        self._loop.start()

    def stop(self) -> None:
        """Stop reporting and delete the row, because this worker stops in order."""
        self._loop.stop()
        try:
            heartbeats.forget(self._services.store, self._controller.hostname)
        except DatabaseUnavailable:
            logger.debug("the worker's row stays until it is stale: the database is away")

    def turn(self) -> float:
        """Report once."""
        heartbeats.write(self._services.store, self._now())
        return INTERVAL

    def failed(self) -> None:
        """The next heartbeat may succeed."""
        logger.exception("the heartbeat failed; the worker goes on")

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("worker.database_away", extra={"why": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.info("worker.database_back")

    def _now(self) -> heartbeats.WorkerHeartbeat:
        controller, now = self._controller, utcnow()
        consumer = getattr(controller, "consumer", None)
        loop_at = getattr(consumer, "loop_at", None)
        return heartbeats.WorkerHeartbeat(
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


def _busy(request: Any) -> dict[str, Any]:
    limit = request.time_limits[0] or request.task.time_limit
    return {"job_id": request.id, "task": request.name, "started_at": request.time_start, "time_limit": limit}
