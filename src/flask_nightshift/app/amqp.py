"""Celery's ``app.amqp`` with our queues and connections."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from celery.app.amqp import AMQP, Queues
from kombu import Queue
from kombu.pools import ProducerPool

from ..brokers import Connection
from ..errors import BrokerUnavailable
from ..task.attempt_outcome import in_worker
from .task_consumer import TaskConsumer

if TYPE_CHECKING:
    from ..services import Services

FOLLOWS_WITHIN = 30.0
"""Seconds for which a worker tries to enqueue a job's successors while the broker is unavailable."""

logger = logging.getLogger("flask_nightshift.celery_app")


class JobQueues(Queues):
    """Celery's queues; ``declare`` (the broker's) also declares a queue that no setting lists."""

    def __init__(self, *args: Any, declare: Any, **kwargs: Any) -> None:
        self._declare = declare
        super().__init__(*args, **kwargs)

    def new_missing(self, name: str) -> Queue:
        """The declaration of a queue that no setting lists."""
        return self._declare(name)


class JobAMQP(AMQP):
    """Celery's messaging with ``JobQueues``."""

    Connection = Connection
    Consumer = TaskConsumer
    _producer_pool: Any = None

    @property
    def producer_pool(self) -> Any:
        """The pool of producers, on the connections of the app's pool."""
        if self._producer_pool is None:
            pool = self.app.pool
            self._producer_pool = ProducerPool(pool, limit=pool.limit)
        return self._producer_pool

    def forget_pool(self) -> None:
        """Forget the pool; the next use creates another."""
        self._producer_pool = None

    def _retry_publish(self, publish: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Publish through Celery; in a worker, try for ``FOLLOWS_WITHIN`` seconds.

        A worker publishes a job's successors (links, the rest of a chain, the body of a chord) after the job's body
        returned. A short outage of the broker must not make that body run again, so this waits.
        """
        until = monotonic() + FOLLOWS_WITHIN
        while True:
            try:
                return super()._retry_publish(publish, *args, **options)
            except BrokerUnavailable as exc:
                if not in_worker() or monotonic() > until:
                    raise
                logger.warning("job.follow_up_waits", extra={"why": str(exc)})
                sleep(1.0)

    def Queues(self, queues: Any, **options: Any) -> JobQueues:  # noqa: N802 - Celery's name
        """The given queues, or all queues that the configuration or a task names."""
        services: Services = self.app.services
        if not queues:
            queues = [services.broker.queue(name) for name in services.queues()]
        return JobQueues(queues, default_exchange=None, declare=services.broker.queue, **options)


__all__ = ["JobAMQP", "JobQueues"]
