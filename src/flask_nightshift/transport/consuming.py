"""Consuming: claim a batch, wait at the doorbell, deliver.

One connection per channel serves both the event loop (prefork) and ``drain_events``. It always has at most
one command under way, a claim (answered at once) or a wait (answered when a doorbell rings, at the latest
after a second). kombu's poller starts it (``_brpop_start``) and hands over the reply (``_brpop_read``).

Queues consumed without acknowledgement (replies to ``inspect``) are kombu's own affair, unless the same
channel consumes others too.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from time import monotonic
from typing import Any

from kombu.utils.scheduling import priority_cycle
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from . import keys, payload, scripts
from .acks import NOTHING, Batch
from .lease import Destination, Lease, LeaseLost

logger = logging.getLogger("flask_nightshift.transport")

PROMOTE_AT_ONCE = 100
"""Due messages that one claim promotes at most, so that 100,000 due at once block nobody."""

LONGEST_WAIT = 1.0
"""Seconds after which a consumer looks by itself: not every producer rings."""


class Asked(enum.Enum):
    """The command that is under way on the polling connection."""

    NOTHING = enum.auto()
    CLAIM = enum.auto()
    WAIT = enum.auto()
    BRPOP = enum.auto()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message in our lease that was not delivered yet. ``at`` is the server's time of the claim."""

    lease: Lease
    number: int
    queue: str
    raw: bytes
    at: float


class ConsumingMixin:
    """The consuming half of a channel; needs the other half (``channel.LeaseMixin``)."""

    def _init_consuming(self: Any) -> None:
        self._asked = Asked.NOTHING
        self._batch = NOTHING
        self._next_number = 1
        self._claimed: deque[Claimed] = deque()
        self._in_hand: dict[int, tuple[Lease, str]] = {}
        self._no_ack: set[str] = set()
        self._leaving: set[str] = set()
        self._exhausted = False
        self._next_due: float | None = None
        self._order: list[str] = []

    # which queues
    def basic_consume(self: Any, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from ``queue``."""
        self._exhausted = False
        self._leaving.discard(queue)
        if no_ack:
            self._no_ack.add(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)  # type: ignore[misc]  # a mixin

    def basic_cancel(self: Any, consumer_tag: str) -> Any:
        """Stop consuming. kombu puts it off while a reply is handled; what is left of that is not delivered."""
        self._leaving.add(self._tag_to_queue.get(consumer_tag, ""))
        return super().basic_cancel(consumer_tag)  # type: ignore[misc]  # a mixin

    def _basic_cancel(self: Any, consumer_tag: str) -> Any:
        self._no_ack.discard(self._tag_to_queue.get(consumer_tag))
        result = super()._basic_cancel(consumer_tag)  # type: ignore[misc]  # a mixin
        if not self.active_queues and self._asked is Asked.CLAIM and self._in_poll:
            # its reply holds messages that nobody will read for; have them now and return them
            with contextlib.suppress(Empty):
                self._brpop_read()
        return result

    @property
    def _leases(self: Any) -> bool:
        return any(queue not in self._no_ack for queue in self.active_queues)

    # the polling connection
    def _brpop_start(self: Any, timeout: float | None = None) -> None:
        if self.active_queues and not self._leases:
            self._asked = Asked.BRPOP
            super()._brpop_start(timeout)  # type: ignore[misc]  # a mixin
            return
        self._deliver_claimed()
        queues = self._queue_cycle.consume(len(self.active_queues))
        size = self._claim_size()
        if not queues or not size:
            return
        if self._exhausted and (self._next_due is None or self._next_due > monotonic()):
            self._send_wait(queues)
        else:
            self._send_claim(queues, size)

    def _claim_size(self: Any) -> int:
        """How many messages to claim now. At least half the prefetch, which saves round trips, or whatever is
        free once no acknowledgement is young enough to wait for more of them.
        """
        free = self.qos.free()
        if free is None or self.qos.one_at_a_time:
            return 1 if free is None or free else 0
        lease = self._lease
        if free * 2 < self.qos.prefetch_count and not self._exhausted and lease and lease.acks.waiting:
            return 0
        return int(free)

    def _send_claim(self: Any, queues: Sequence[str], size: int, *, whole: bool = False) -> None:
        lease = self.lease
        self._batch = lease.acks.take()
        names, args = self._claim_call(lease, queues, size, self._batch)
        command = scripts.CLAIM.by_source if whole else scripts.CLAIM.by_hash
        self._order = list(queues)
        self._send(Asked.CLAIM, command(names, args))

    def _send_wait(self: Any, queues: Sequence[str]) -> None:
        bells = [keys.bell(self.global_keyprefix, queue) for queue in queues]
        longest = min(self.brpop_timeout or LONGEST_WAIT, LONGEST_WAIT)
        if self._next_due is not None and self._next_due - monotonic() < longest:
            self.lease.keeper.ring_at(self._next_due, bells[0])
        self._send(Asked.WAIT, ("BLPOP", *bells, f"{longest:.3f}"))

    def _send(self: Any, asked: Asked, command: Sequence[Any]) -> None:
        self._in_poll = self.client.connection
        self._asked = asked
        self._brpop_sent_at = monotonic()
        try:
            self.client.connection.send_command(*command)
        except BaseException:
            self._drop_poll()
            raise

    def _brpop_read(self: Any, **options: Any) -> Any:
        if self._asked is Asked.BRPOP:
            return super()._brpop_read(**options)  # type: ignore[misc]  # a mixin
        asked = self._asked
        try:
            reply = self._read_reply()
        except NoScriptError:
            self._send_claim(self._order, max(1, self._claim_size()), whole=True)
            raise Empty from None
        if asked is Asked.WAIT:
            self._exhausted, self._next_due = False, None
            self._flush_brpop_reauth()
            self.connection.cycle.maybe_restore_messages()
            if self.active_queues and self.qos.can_consume():
                self._brpop_start()
            raise Empty
        self._accept(self.lease, self._order, reply)
        self._flush_brpop_reauth()
        if not self._claimed:
            if self._exhausted and self.active_queues and self.qos.can_consume():
                self._brpop_start()
            raise Empty
        self._deliver_claimed()
        return True

    def _read_reply(self: Any) -> Any:
        batch, connection = self._batch, self.client.connection
        try:
            reply = connection.read_response()
        except NoScriptError:
            self._drop_poll(disconnect=False)
            raise
        except ResponseError as exc:  # the server cannot serve us now: read-only, full, shutting down, ...
            self._drop_poll()
            raise RedisConnectionError(f"cannot claim: {exc}") from exc
        except BaseException:
            self._drop_poll()
            raise
        self._in_poll, self._asked, self._batch = None, Asked.NOTHING, NOTHING
        if batch.acks and self._lease is not None:
            self._lease.acks.confirm(batch)
        return reply

    def _drop_poll(self: Any, *, disconnect: bool = True) -> None:
        """Forget the command under way; its acknowledgements are to be sent again."""
        if self._batch.acks and self._lease is not None:
            self._lease.acks.put_back(self._batch)
            self._lease.keeper.nudge()
        self._in_poll, self._asked, self._batch = None, Asked.NOTHING, NOTHING
        if disconnect:
            self.client.connection.disconnect()

    # claiming
    def _claim_call(
        self: Any, lease: Lease, queues: Sequence[str], size: int, batch: Batch
    ) -> tuple[list[str], list[Any]]:
        prefix, steps = self.global_keyprefix, self.priority_steps
        names = [
            *lease.owned,
            *(keys.delayed(prefix, queue) for queue in queues),
            *(keys.bell(prefix, queue) for queue in queues),
            *(keys.ready(prefix, queue, step, self.sep) for step in steps for queue in queues),
        ]
        turns = int(not isinstance(self._queue_cycle, priority_cycle))
        counts = (PROMOTE_AT_ONCE, len(queues), len(steps))
        return names, [lease.id, size, self._next_number, turns, *counts, *steps, *queues, *batch.args()]

    def _accept(self: Any, lease: Lease, queues: Sequence[str], reply: list[Any]) -> None:
        """Take the reply of a claim into the books."""
        if reply[0] != b"ok":
            lease.mark_lost()
            self.check_lease()
        at, wait, self._exhausted = float(reply[1]), float(reply[2]), not reply[3]
        self._next_due = monotonic() + wait if wait >= 0 else None
        for position, raw in zip(reply[4::2], reply[5::2], strict=True):
            queue = queues[position - 1]
            self._claimed.append(Claimed(lease, self._next_number, queue, raw, at))
            self._next_number += 1
            self._queue_cycle.rotate(queue)

    def basic_get(self: Any, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message of ``queue``, or None; leased like any other unless ``no_ack``."""
        if no_ack:
            return super().basic_get(queue, no_ack=True, **kwargs)  # type: ignore[misc]  # a mixin
        lease, waiting = self.lease, self._claimed
        self._claimed = deque()
        try:
            while True:
                batch = lease.acks.take()
                try:
                    reply = scripts.CLAIM.run(lease.client, *self._claim_call(lease, [queue], 1, batch))
                except BaseException:
                    lease.acks.put_back(batch)
                    raise
                lease.acks.confirm(batch)
                self._accept(lease, [queue], reply)
                if not self._claimed:
                    return None
                if (body := self._open(self._claimed.popleft())) is not None:
                    message = self.Message(body, channel=self)
                    self.qos.append(message, message.delivery_tag)
                    return message
        finally:
            self._claimed, self._exhausted = waiting, False

    # delivering
    def _deliver_claimed(self: Any) -> None:
        while self._claimed:
            claimed = self._claimed.popleft()
            callbacks = self.connection._callbacks  # noqa: SLF001 - as kombu's channel does
            if claimed.queue in self._leaving or claimed.queue not in callbacks:
                claimed.lease.give_back([claimed.number], counted=False)
            elif (body := self._open(claimed)) is not None:
                self.connection._deliver(body, claimed.queue)  # noqa: SLF001 - as kombu's channel does
                if claimed.queue in self._no_ack:
                    self.settle_by_ack(claimed.number)

    def _open(self: Any, claimed: Claimed) -> dict[str, Any] | None:
        """What to deliver; None if it was not for delivery and has been put where it belongs."""
        try:
            body = payload.parse(claimed.raw)
        except payload.Undecodable as exc:
            self._bury(claimed, "undecodable", str(exc), None)
            return None
        count = payload.take_count(body)
        if count >= self.options.delivery_limit:
            error = f"delivered {count} times, and never settled"
            self._bury(claimed, "delivery_limit", error, body)
            return None
        due = payload.due(body)
        if due is not None and due > claimed.at and payload.DEAD not in (body.get("headers") or {}):
            self._postpone(claimed, due, body)
            return None
        self._in_hand[claimed.number] = (claimed.lease, claimed.queue)
        return payload.for_delivery(body, count, claimed.number)

    def _bury(self: Any, claimed: Claimed, reason: str, error: str, body: dict[str, Any] | None) -> None:
        """Move what cannot be delivered to the dead-letter queue."""
        burial = payload.Burial(reason, error, claimed.queue, claimed.lease.id)
        queue = self.options.dead_letter_queue
        letter = (
            payload.bury_raw(claimed.raw, burial, queue)
            if body is None
            else payload.bury(body, burial, queue)
        )
        logger.error("job.dead queue=%s reason=%s: %s", claimed.queue, reason, error)
        self._move(claimed, queue, 0, 0.0, letter)

    def _postpone(self: Any, claimed: Claimed, due: float, body: dict[str, Any]) -> None:
        """A producer without Nightshift wrote a delayed message to the ready list; delay it in the broker."""
        step = self.priority(self._get_message_priority(body, reverse=False))
        self._move(claimed, claimed.queue, step, due, claimed.raw)

    def _move(self: Any, claimed: Claimed, queue: str, step: int, due: float, letter: str | bytes) -> None:
        try:
            to: list[Destination] = [self.destination(queue, step)]
            claimed.lease.replace(claimed.number, claimed.queue, to, step, due, letter)
        except BaseException:
            self._claimed.appendleft(claimed)
            raise

    def check_lease(self: Any) -> None:
        """Called before every poll: raise if our lease was taken, and start afresh afterwards."""
        lease = self._lease
        if lease is None:
            return
        try:
            lease.verify()
        except LeaseLost:
            self._lease = None
            self._claimed.clear()
            if self._asked in (Asked.CLAIM, Asked.WAIT):
                self._drop_poll()
            lease.release()
            raise
