"""Celery's remote control of a running consumer: its queues, rate limits and pool size."""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

from ..services import Services
from .quarantine import Quarantine


class ControlledConsumer(Consumer):
    """Celery's consumer, which keeps to our queues and limits when remote control changes them."""

    services: Services
    _quarantine: Quarantine | None = None

    def add_task_queue(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str | None = None,
        *rest: Any,
        **options: Any,
    ) -> None:
        """Consume ``queue`` too; an unlisted queue is declared as ours are, unless ``exchange`` is given.

        Celery would declare a classic queue at a direct exchange. If our producers have declared it as a quorum queue,
        RabbitMQ closes the channel for that, and the worker ends.
        """
        if exchange is None:
            self.app.amqp.queues[queue]  # creates it
        super().add_task_queue(queue, exchange, exchange_type, *rest, **options)
        if self._quarantine is not None:
            self._quarantine.add(self.app.amqp.queues[queue])

    def cancel_task_queue(self, queue: str) -> None:
        """Stop consuming ``queue``."""
        super().cancel_task_queue(queue)
        if self._quarantine is not None:
            self._quarantine.remove(queue)

    def reset_rate_limits(self) -> None:
        """Apply a changed rate limit also to jobs that already wait for the old one.

        Celery keeps those jobs under the old limit, and they occupy the prefetch window: a worker would stand still for
        hours after an hourly limit was lifted.
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

    def _limit_task(self, request: Any, bucket: Any, tokens: int) -> Any:
        """Have a job wait for its rate limit, unless it was cancelled: Celery would look only at its turn."""
        if request.revoked():
            return None
        return super()._limit_task(request, bucket, tokens)

    def _update_qos_eventually(self, index: int) -> Any:
        """The pool has grown or shrunk by ``index``: give the broker the new prefetch count."""
        changed = super()._update_qos_eventually(index)
        if self.qos_global is False and self.services.broker.capabilities.fixes_prefetch:
            self.call_soon(self._consume_anew)
        return changed

    def _consume_anew(self) -> None:
        """Consume anew: RabbitMQ applies a new prefetch count of a quorum queue only to new consumers."""
        self.qos.update()
        self.task_consumer.cancel()
        self.task_consumer.consume()


__all__ = ["ControlledConsumer"]
