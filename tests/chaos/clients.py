"""Enqueues jobs and inspects the system, through Nightshift or stock Celery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from kombu.exceptions import OperationalError
from sqlalchemy import select

from flask_nightshift import BrokerUnavailable
from flask_nightshift.operations import pauses
from flask_nightshift.services import current
from flask_nightshift.store.tables import dead_letters

from . import jobs_app, stock_app
from .ledger import Book
from .plan import Job

QUEUE = "celery"


class Refused(Exception):
    """The broker did not confirm the job: it may run, or not."""


class Client(Protocol):
    """The operations on the system that a trial needs."""

    def enqueue(self, job: Job) -> None:
        """Publish ``job``; raises ``Refused``."""

    def dead(self) -> dict[str, str]:
        """Dead letters: job id to reason. May raise while the database is down."""

    def left(self) -> int:
        """The number of messages in the broker: ready, delayed or delivered to workers."""

    def pause(self) -> None:
        """Have no worker begin a job."""

    def resume(self) -> None:
        """End the pause."""

    def close(self) -> None:
        """Close connections."""


class NightshiftClient:
    """A Flask app, as in a web process."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.app = jobs_app.create_app(settings)
        self.services = current(self.app)
        self.services.store.migrate()

    def enqueue(self, job: Job) -> None:
        """Publish ``job``; raises ``Refused``."""
        task, args = (jobs_app.poison, []) if job.poison else (jobs_app.work, [job.seconds, job.failures])
        try:
            with self.app.app_context():
                task.apply_async(args, task_id=job.id)
        except BrokerUnavailable as exc:
            raise Refused(str(exc)) from exc

    def dead(self) -> dict[str, str]:
        """The archived dead letters."""
        table = dead_letters
        with self.services.store.read() as connection:
            rows = connection.execute(select(table.c.job_id, table.c.reason))
            return {row.job_id: row.reason for row in rows if row.job_id}

    def left(self) -> int:
        """The count of ``flask jobs stats``; RabbitMQ does not report messages that workers hold."""
        broker = self.services.broker
        depths = broker.depths([QUEUE])
        return (broker.delayed() or 0) + sum(
            depth.ready + (depth.delayed or 0) + (depth.leased or 0) for depth in depths
        )

    def pause(self) -> None:
        """As ``flask jobs pause``."""
        pauses.pause(self.services, [QUEUE], reason="chaos")

    def resume(self) -> None:
        """As ``flask jobs resume``."""
        pauses.resume(self.services, [QUEUE])

    def close(self) -> None:
        """End the journal's thread and close connections."""
        self.services.journal.close()
        self.services.celery.close()
        self.services.broker.close()
        self.services.store.close()


class StockClient:
    """A plain Celery app."""

    def __init__(self, broker_url: str, prefetch: int, book: Book) -> None:
        self._app = stock_app.make(broker_url, prefetch)
        self._book = book

    def enqueue(self, job: Job) -> None:
        """Publish ``job``; raises ``Refused``."""
        name, args = ("chaos.poison", []) if job.poison else ("chaos.work", [job.seconds, job.failures])
        try:
            self._app.send_task(name, args, task_id=job.id)
        except (OperationalError, OSError) as exc:
            raise Refused(str(exc)) from exc

    def dead(self) -> dict[str, str]:
        """Jobs whose last attempt failed, from the ledger, because Celery keeps none."""
        return dict.fromkeys(self._book.given_up, "failed")

    def left(self) -> int:
        """0: a stock message may stay in ``unacked`` until its visibility timeout, so it is not checked."""
        return 0

    def pause(self) -> None:
        """Celery has no such thing."""

    def resume(self) -> None:
        """Celery has no such thing."""

    def close(self) -> None:
        """Close connections."""
        self._app.close()


def client_of(*, stock: bool, settings: Mapping[str, str], prefetch: int, book: Book) -> Client:
    """The client that fits the workers."""
    if stock:
        return StockClient(settings["NIGHTSHIFT_BROKER_URL"], prefetch, book)
    return NightshiftClient(settings)
