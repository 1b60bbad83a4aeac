"""The same jobs for stock Celery, configured as its documentation advises for jobs that must not get lost."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task

from . import task_bodies
from .ledger import note_dead

VISIBILITY_TIMEOUT = 30
"""Seconds after which kombu gives out again what was not acknowledged (Redis): well above any job here."""


def make(broker_url: str, prefetch: int) -> Celery:
    """A Celery app for ``broker_url``."""
    app = Celery("chaos", broker=broker_url, set_as_current=False)
    options = {"visibility_timeout": VISIBILITY_TIMEOUT, "socket_timeout": 10}
    app.conf.update(
        broker_transport_options={"confirm_publish": True} if broker_url.startswith("amqp") else options,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=prefetch,
    )
    app.task(name="chaos.work", bind=True, base=Counted, **RETRIES)(work)
    app.task(name="chaos.poison", bind=True, base=Counted)(poison)
    return app


class Counted(Task):
    """Records a job that failed finally in the ledger, because Celery forgets it."""

    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Its last attempt has failed."""
        note_dead(os.environ["CHAOS_LEDGER"], task_id)


RETRIES = {
    "autoretry_for": (ConnectionError,),
    "retry_backoff": 1,
    "retry_backoff_max": 1,
    "retry_kwargs": {"max_retries": 5},
}


def work(self: Any, seconds: float, failures: int = 0) -> None:
    """A job that works for a while."""
    task_bodies.work(self.request, seconds, failures)


def poison(self: Any) -> None:
    """A job that kills its worker."""
    task_bodies.kill_worker(self.request)


if "CHAOS_BROKER_URL" in os.environ:  # in a worker
    app = make(os.environ["CHAOS_BROKER_URL"], int(os.environ["CHAOS_PREFETCH"]))
