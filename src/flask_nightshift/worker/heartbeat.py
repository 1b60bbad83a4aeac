"""A worker's heartbeat: one row in the database, which a thread writes every few seconds.

The row also says when the consumer's loop last ran, which tells a worker whose loop is stuck from a healthy one. While
the database is down, the worker continues (invariant 7).
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from time import monotonic
from typing import Any

from celery.worker.state import active_requests, reserved_requests

from ..background.loop import Backoff, Loop, Work
from ..domain.job import utcnow
from ..domain.orders import Ordered, Pause
from ..errors import DatabaseUnavailable
from ..services import Services
from ..store import deploys, heartbeats
from . import memory
from .pools import pool_of

logger = logging.getLogger(__name__)

INTERVAL = 3.0
"""Seconds between two heartbeats; ``heartbeats.FRESH`` says when a worker counts as gone."""
CONFIRM_AFTER = 1.1
"""Seconds until it reports again after it has heard that queues are paused: ``operations/quiet.py`` waits for that."""
NAME_AFTER = 60.0
"""Seconds between two lists of the tasks that it knows, in case that its row was deleted."""
WEIGH_AFTER = 30.0
"""Seconds between two looks at the memory, which take the kernel a millisecond for each process."""


class Heartbeat(Work):
    """Reports one worker until ``stop()``. ``controller`` is Celery's ``WorkController``."""

    def __init__(self, services: Services, controller: Any) -> None:
        self._services = services
        self._controller = controller
        self._started_at = utcnow()
        self._has_tidied = False
        self._memory: int | None = None
        self._weigh_at = self._name_at = 0.0
        self._named: frozenset[str] = frozenset()
        self._pauses: Mapping[str, Pause] = {}
        self._confirms = False
        self._loop = Loop(self, "nightshift-heartbeat", Backoff(INTERVAL, INTERVAL))

    def start(self) -> None:
        """Begin to report."""
        self._loop.start()

    def heard(self, ordered: Ordered) -> None:
        """If queues were paused, somebody may wait for what this worker tells: it reports now, and soon again."""
        if ordered.pauses != self._pauses:
            self._pauses, self._confirms = ordered.pauses, True
            self._loop.wake()

    def stop(self) -> None:
        """Stop reporting and delete the row, because this worker stops in order."""
        self._loop.stop()
        try:
            heartbeats.forget(self._services.store, self._controller.hostname)
        except DatabaseUnavailable:
            logger.debug("worker.row_stays", extra={"worker": self._controller.hostname})

    def turn(self) -> float:
        """Report once."""
        confirms, self._confirms = self._confirms, False
        if not self._has_tidied:
            heartbeats.forget_gone(self._services.store)
            self._note_deploy()
            self._has_tidied = True
        if monotonic() >= self._weigh_at:
            self._memory, self._weigh_at = memory.used(), monotonic() + WEIGH_AFTER
        names = frozenset(task.name for task in self._services.tasks())
        told = self._now()
        if names != self._named or monotonic() >= self._name_at:
            told = replace(told, tasks=heartbeats.KnownTasks.of(names))
        heartbeats.write(self._services.store, told)
        if told.tasks is not None:
            self._named, self._name_at = names, monotonic() + NAME_AFTER
        return CONFIRM_AFTER if confirms else INTERVAL

    def failed(self) -> None:
        """The next heartbeat may succeed."""
        logger.exception("worker.heartbeat_failed")

    def paused(self, why: object) -> None:
        """The database is away."""
        logger.warning("worker.database_away", extra={"why": str(why)})

    def resumed(self) -> None:
        """The database is back."""
        logger.info("worker.database_back")

    def _note_deploy(self) -> None:
        if app_version := self._services.settings.version:
            now = utcnow()
            deploys.note(
                self._services.store, self._controller.hostname, app_version, now, now - heartbeats.FRESH
            )

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
            app_version=self._services.settings.version,
            memory=self._memory,
            heard=known.number if (known := controller.orders.known) else 0,
            in_hand=_in_hand(consumer),
        )


def _in_hand(consumer: Any) -> dict[str, int]:
    """How many jobs of each queue the worker holds, also those that wait for the rate limits of their tasks."""
    held = list(reserved_requests)
    if consumer is not None:
        for bucket in filter(None, list(consumer.task_buckets.values())):
            held += [request for request, _ in list(bucket.contents)]
    return dict(Counter(request.queue for request in held))


def _busy(request: Any) -> dict[str, Any]:
    limit = request.time_limits[0] or request.task.time_limit
    return {"job_id": request.id, "task": request.name, "started_at": request.time_start, "time_limit": limit}
