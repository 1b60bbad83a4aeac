"""Claimed messages are checked before they are delivered, and those not for delivery go where they belong.

A message that was delivered too often, or that is not a kombu message, is buried; one that is not due yet is delayed.
Both happen within the lease, so the message is never lost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from ....message.unique import Lock, lock_of
from ... import payload
from . import log
from .deliveries import Claimed, Deliveries
from .keys import KeySpace
from .options import Options


class Intake:
    """Checks what one channel has claimed; ``step_of(payload)`` is the priority step of a message."""

    def __init__(
        self,
        keys: KeySpace,
        options: Options,
        deliveries: Deliveries,
        step_of: Callable[[dict[str, Any]], int],
    ) -> None:
        self._keys = keys
        self._options = options
        self._deliveries = deliveries
        self._step_of = step_of

    def open(self, claimed: Claimed) -> dict[str, Any] | None:
        """What to deliver;

        None if ``claimed`` was put elsewhere. Raises what redis-py does, and changes nothing then.
        """
        try:
            return self._checked(claimed)
        except (RedisError, OSError):
            raise
        except Exception as exc:  # noqa: BLE001 - no content may stop the consumer
            self._bury(claimed, "undecodable", f"{type(exc).__name__}: {exc}", None)
            return None

    def _checked(self, claimed: Claimed) -> dict[str, Any] | None:
        try:
            body = payload.parse(claimed.raw)
        except payload.Undecodable as exc:
            self._bury(claimed, "undecodable", str(exc), None)
            return None
        count = payload.take_count(body)
        if count >= self._options.delivery_limit and claimed.queue != self._options.dead_letter_queue:
            error = f"delivered {count} times, and never settled"
            self._bury(claimed, "delivery_limit", error, body)
            return None
        due = payload.due(body)
        if due is not None and due > claimed.at and payload.DEAD not in (body.get("headers") or {}):
            # a producer without Nightshift wrote a delayed message to the ready list; delay it in the broker
            self._move(claimed, claimed.queue, self._step_of(body), due, claimed.raw)
            return None
        claimed.lease.deliver(claimed.number, claimed.queue, body.get("headers"))
        self._deliveries.add(claimed, unproven=count > 0)
        return payload.for_delivery(body, count, claimed.number, claimed.queue)

    def _bury(self, claimed: Claimed, reason: str, error: str, body: dict[str, Any] | None) -> None:
        """Move what cannot be delivered to the dead-letter queue."""
        burial = payload.Burial(reason, error, claimed.queue, claimed.lease.id)
        queue = self._options.dead_letter_queue
        if body is None:
            headers, letter = None, payload.bury_raw(claimed.raw, burial, queue)
        else:
            headers, letter = body.get("headers"), payload.bury(body, burial, queue)
        log.buried(headers, claimed.queue, reason=reason, why=error, worker=claimed.lease.id)
        lock = lock_of(headers) if isinstance(headers, dict) else None
        self._move(claimed, queue, 0, 0.0, letter, [lock] if lock else ())

    def _move(
        self, claimed: Claimed, queue: str, step: int, due: float, letter: bytes, locks: Sequence[Lock] = ()
    ) -> None:
        to = [self._keys.destination(queue, step)]
        claimed.lease.replace(claimed.number, claimed.queue, to, step, due, letter, locks)


__all__ = ["Intake"]
