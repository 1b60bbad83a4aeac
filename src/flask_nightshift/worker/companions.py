"""The parts of a worker that are ours: heartbeat, archiver, relays, journal, and an orderly stop."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import bootsteps, signals

from ..dead_letters import Archiver
from ..domain.events import JobDied
from ..domain.recording import OFF
from ..services import Services
from ..task.board import board
from . import sentry
from .boot import settle_memory
from .drain import Drain
from .endings import buried_by_the_broker, is_dropped
from .epoch import EpochWatch
from .heartbeat import Heartbeat
from .orders import OrderWatch

logger = logging.getLogger("flask_nightshift.worker.boot")


class Companions(bootsteps.StartStopStep):
    """The threads of a worker; they start after its pool has forked."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, controller: Any, **options: Any) -> None:
        super().__init__(controller, **options)
        services: Services = controller.app.services
        self._services = services
        self._controller = controller
        self._heartbeat = Heartbeat(services, controller)
        self._archiver = Archiver(
            services.broker,
            services.store,
            worker=controller.hostname,
            texts=services.texts,
            recorded=services.settings.history != OFF,
            known=services.celery.tasks.__contains__,
            tell=partial(buried_by_the_broker, controller.app),
            drops=partial(is_dropped, controller.app),
            ended=services.has_ended,
            stored=services.notices.tell,
        )
        self._epoch = EpochWatch(services)
        self._orders = controller.orders = OrderWatch(services)
        self._orders.subscribe(self._heartbeat.heard)
        self._relays = services.relays(controller.hostname)
        self._helpers = [make(controller.hostname) for make in services.helpers]
        for helper in self._helpers:
            self._orders.nudge(helper.wake)
        self._drain = Drain(controller, services.settings.stop_grace)
        services.journal.worker = controller.hostname
        board.open()  # before the pool forks
        _load_result_backend(controller.app)

    def start(self, controller: Any) -> None:
        """Start the threads. ``_shut_down`` stops them at the end of the process, when the last attempt is settled."""
        settle_memory()
        sentry.watch(self._services)
        self._heartbeat.start()
        self._archiver.start()
        self._epoch.start()
        self._orders.start()
        for relay in self._relays:
            relay.start()
        for helper in self._helpers:
            helper.start()
        self._services.events.subscribe(self._heard, JobDied)
        signals.worker_shutting_down.connect(self._shutting_down, weak=False)
        signals.worker_shutdown.connect(self._shut_down, weak=False)
        logger.info(
            "worker.started",
            extra={"worker": controller.hostname, "queues": sorted(controller.app.amqp.queues.consume_from),
                   "concurrency": controller.concurrency, "broker": self._services.broker.url},
        )  # fmt: skip

    def _heard(self, event: Any) -> None:
        if isinstance(event, JobDied):
            self._archiver.notify()

    def stop(self, controller: Any) -> None:
        """Do nothing yet: attempts still run, and the threads must record their ends."""

    def terminate(self, controller: Any) -> None:  # noqa: ARG002 - Celery's signature
        """A cold stop: record what has ended so far."""
        self._shut_down()

    def _shutting_down(self, **_: Any) -> None:
        self._drain.begin()

    def _shut_down(self, **_: Any) -> None:
        self._drain.end()
        if settlement := getattr(self._services.celery, "settlement", None):
            settlement.finish()
        if announcer := getattr(self._services.celery, "announcer", None):
            announcer.finish()
        _close_connection(self._controller)
        self._epoch.stop()
        self._orders.stop()
        for helper in self._helpers:
            helper.stop()
        for relay in self._relays:
            relay.stop()
        self._archiver.stop()
        self._services.notices.stop()
        self._heartbeat.stop()
        self._services.journal.close()
        signals.worker_shutting_down.disconnect(self._shutting_down)
        signals.worker_shutdown.disconnect(self._shut_down)
        logger.info("worker.stopped", extra={"worker": self._controller.hostname})


def _load_result_backend(app: Any) -> None:
    """Import the result backend before any thread does and before the fork: children share it and wait for no lock."""
    try:
        _ = app.backend
    except Exception:
        logger.exception("results.no_backend")


def _close_connection(controller: Any) -> None:
    """Close the consumer's connection properly, so that prefetched jobs return to their queues at once."""
    connection = getattr(getattr(controller, "consumer", None), "connection", None)
    if connection is None:
        return
    try:
        controller.consumer.leave()
        connection.close()
    except Exception as exc:  # noqa: BLE001 - the process ends; the broker notices by itself
        logger.warning("broker.not_closed", extra={"why": f"{type(exc).__name__}: {exc}"})
