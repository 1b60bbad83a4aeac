"""Celery's remote control of a running consumer: its queues, rate limits and pool size."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

from ..services import Services
from .aside import Aside


class ControlledConsumer(Consumer):
    """Celery's consumer, which keeps to our queues and limits when remote control changes them."""

    services: Services
    _aside: Aside | None = None

    def add_task_queue(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        *rest: Any,
        **options: Any,
    ) -> None:
        """Consume ``queue`` too; one that nobody listed is declared like the others, unless its exchange is given.

        Celery would want a classic queue at a direct exchange, and RabbitMQ, where our producers have declared it
        otherwise, close the channel for that: it was the end of the worker.
        """
        if exchange is None:
            self.app.amqp.queues[queue]  # makes it
        super().add_task_queue(queue, exchange, exchange_type, *rest, **options)
        if self._aside is not None:
            self._aside.add(self.app.amqp.queues[queue])

    def cancel_task_queue(self, queue: str) -> None:
        """Consume ``queue`` no more."""
        super().cancel_task_queue(queue)
        if self._aside is not None:
            self._aside.remove(queue)

    def reset_rate_limits(self) -> None:
        """A limit has changed: the jobs that wait because of the old one go on under the new.

        Celery keeps them to the old one, and with them their places among the prefetched: an hourly limit, lifted,
        would still stop the worker for hours.
        """
        waiting = [bucket for bucket in self.task_buckets.values() if bucket]
        super().reset_rate_limits()
        for bucket in waiting:
            while bucket.contents:
                request, tokens = bucket.pop()
                limit = self.task_buckets[request.name]
                if limit:
                    self._limit_task(request, limit, tokens)
                else:
                    self._limit_move_to_pool(request)

    def _update_qos_eventually(self, index: int) -> Any:
        """The pool has grown or shrunk by ``index``; how much to prefetch is told to the broker."""
        changed = super()._update_qos_eventually(index)
        if self.qos_global is False and self.services.broker.capabilities.fixes_prefetch:
            self.call_soon(self._consume_anew)
        return changed

    def _consume_anew(self) -> None:
        """RabbitMQ keeps a consumer of a quorum queue to the number that was set when it began."""
        self.qos.update()
        self.task_consumer.cancel()
        self.task_consumer.consume()


__all__ = ["ControlledConsumer"]
