"""What a channel has delivered and not settled yet, and the ways to settle it.

Celery counts its prefetch here, and acknowledges and rejects here. A delivery tag is the number under which
the message is leased.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from kombu.transport import redis, virtual
from redis.exceptions import ResponseError

from ....text.lines import Line

logger = logging.getLogger("flask_nightshift.transport")


class QoS(redis.QoS):
    """Acknowledge and reject through the lease; what stock workers left in ``unacked`` is restored as in kombu."""

    _restored_at = float("-inf")

    def append(self, message: Any, delivery_tag: int) -> None:
        """It was handed to the consumer; the lease has it already."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: int) -> None:
        """Done with it."""
        self.channel.settle_by_ack(delivery_tag)
        self._quick_ack(delivery_tag)

    def reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Back to the head of its queue, counted as a delivery; or away."""
        if requeue:
            self.channel.settle_by_return(delivery_tag)
        else:
            self.channel.settle_by_ack(delivery_tag)
        self._quick_ack(delivery_tag)

    def delivered(self) -> dict[Any, Any]:
        """The messages, by delivery tag, that are neither acknowledged nor rejected."""
        self._flush()
        return dict(self._delivered)

    def forget(self) -> None:
        """Refer to none of them any more."""
        self._delivered.clear()
        self._dirty.clear()

    @property
    def limit(self) -> int:
        """How many messages the consumer may have; 0 if there is no limit."""
        window = self.channel.connection.window
        count: int = window() if window is not None and self.prefetch_count else self.prefetch_count
        return count

    def can_consume(self) -> bool:
        """Whether the consumer may have one more message."""
        limit = self.limit
        return not limit or len(self._delivered) - len(self._dirty) < limit

    def can_consume_max_estimate(self) -> int | None:
        """How many more messages the consumer may have; None if there is no limit."""
        limit = self.limit
        return max(limit - (len(self._delivered) - len(self._dirty)), 0) if limit else None

    def free(self) -> int | None:
        """How many more messages the consumer may have; None if there is no limit."""
        if not self.can_consume():
            return 0
        return self.can_consume_max_estimate() or None

    @property
    def one_at_a_time(self) -> bool:
        """Whether somebody decides before each message if there may be one (``worker_disable_prefetch``)."""
        return "can_consume" in self.__dict__

    def restore_unacked(self, client: Any = None) -> list[Any]:  # noqa: ARG002 - kombu's signature
        """Everything back to the heads of the queues, uncounted."""
        self.channel.return_unsettled(list(self.delivered()))
        self._delivered.clear()
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:  # noqa: ARG002 - kombu's signature
        """The channel closes, or the process ends."""
        self._on_collect.cancel()
        self.channel.release_lease()
        self._delivered.clear()

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Restore what stock workers left behind. By time, as the poller comes by at irregular intervals."""
        pause = max(1.0, self.channel.unacked_restore_interval)
        if monotonic() - self._restored_at >= pause:
            self._restored_at = monotonic()
            self._vrestore_count = 0
            try:
                index = self.channel.keys.prefix + self.channel.unacked_index_key
                if self.channel.scripting.exists(index):
                    super().restore_visible(start=start, num=num, interval=interval)
            except ResponseError as exc:  # a full server, for example; taking jobs goes on
                text = f"what kombu's workers left unacknowledged is not restored now: {exc}"
                logger.warning(Line("transport.not_restored", text, why=str(exc)))
