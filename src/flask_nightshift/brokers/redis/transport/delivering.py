"""Delivering: what was claimed is checked, and handed out or put where it belongs.

A message that was delivered too often, or that is none, is buried; one that is not due yet is delayed; all
that within the lease, so that it is nowhere lost on the way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from ... import payload
from . import log
from .lease import Destination, Lease
from .message import unproven_in_hand
from .starting import Starts


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message in our lease that was not delivered yet. ``at`` is the server's time of the claim.

    ``noted``: it counts as begun.
    """

    lease: Lease
    number: int
    queue: str
    raw: bytes
    at: float
    noted: bool = False


class DeliveringMixin:
    """The part of a channel between claiming and settling; needs the rest of it (``channel.LeaseMixin``)."""

    def _init_delivering(self: Any) -> None:
        self._claimed: deque[Claimed] = deque()
        self._in_hand: dict[int, tuple[Lease, str]] = {}
        self._starts = Starts(ahead=self.options.delivery_limit > 1)
        self._receiving = 0
        self._no_ack: set[str] = set()
        self._leaving: set[str] = set()

    def _deliver_claimed(self: Any) -> None:
        lease = self._claimed[-1].lease
        while self._claimed:
            claimed = self._claimed.popleft()
            callbacks = self.connection._callbacks  # noqa: SLF001 - as kombu's channel does
            if claimed.queue in self._leaving or claimed.queue not in callbacks:
                claimed.lease.give_back([claimed.number], counted=False)
            elif (body := self._open(claimed)) is not None:
                self.connection._deliver(body, claimed.queue)  # noqa: SLF001 - as kombu's channel does
                if claimed.queue in self._no_ack:
                    self.settle_by_ack(claimed.number)
        lease.received = self._receiving

    def _open(self: Any, claimed: Claimed) -> dict[str, Any] | None:
        """What to deliver; None if it was not for delivery and has been put where it belongs."""
        try:
            try:
                return self._checked(claimed)
            except (RedisError, OSError):
                raise
            except Exception as exc:  # noqa: BLE001 - whatever is in it, it must not stop the consumer
                self._bury(claimed, "undecodable", f"{type(exc).__name__}: {exc}", None)
                return None
        except BaseException:
            self._claimed.appendleft(claimed)
            raise

    def _checked(self: Any, claimed: Claimed) -> dict[str, Any] | None:
        try:
            body = payload.parse(claimed.raw)
        except payload.Undecodable as exc:
            self._bury(claimed, "undecodable", str(exc), None)
            return None
        count = payload.take_count(body)
        if count >= self.options.delivery_limit and claimed.queue != self.options.dead_letter_queue:
            error = f"delivered {count} times, and never settled"
            self._bury(claimed, "delivery_limit", error, body)
            return None
        due = payload.due(body)
        if due is not None and due > claimed.at and payload.DEAD not in (body.get("headers") or {}):
            self._postpone(claimed, due, body)
            return None
        self._in_hand[claimed.number] = (claimed.lease, claimed.queue)
        claimed.lease.deliver(claimed.number, claimed.queue, body.get("headers"))
        self._starts.delivered(claimed.number, noted=claimed.noted, unproven=count > 0)
        return payload.for_delivery(body, count, claimed.number, claimed.queue)

    def _let_go(self: Any, number: int) -> tuple[Lease, str] | None:
        """A delivered message is settled; what we knew of it, None if it is not ours (any more)."""
        self._starts.forget(number)
        found: tuple[Lease, str] | None = self._in_hand.pop(number, None)
        if self._passed_over and not unproven_in_hand():
            self._look_again()
        return found

    def _bury(self: Any, claimed: Claimed, reason: str, error: str, body: dict[str, Any] | None) -> None:
        """Move what cannot be delivered to the dead-letter queue."""
        burial = payload.Burial(reason, error, claimed.queue, claimed.lease.id)
        queue = self.options.dead_letter_queue
        letter = (
            payload.bury_raw(claimed.raw, burial, queue)
            if body is None
            else payload.bury(body, burial, queue)
        )
        headers = body.get("headers") if body is not None else None
        log.buried(headers, claimed.queue, reason=reason, why=error, worker=claimed.lease.id)
        self._move(claimed, queue, 0, 0.0, letter)

    def _postpone(self: Any, claimed: Claimed, due: float, body: dict[str, Any]) -> None:
        """A producer without Nightshift wrote a delayed message to the ready list; delay it in the broker."""
        step = self.priority(self._get_message_priority(body, reverse=False))
        self._move(claimed, claimed.queue, step, due, claimed.raw)

    def _move(self: Any, claimed: Claimed, queue: str, step: int, due: float, letter: bytes) -> None:
        to: list[Destination] = [self.destination(queue, step)]
        claimed.lease.replace(claimed.number, claimed.queue, to, step, due, letter)
