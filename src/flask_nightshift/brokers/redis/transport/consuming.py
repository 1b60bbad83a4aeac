"""Consuming: claim a batch, or wait at the doorbell.

One connection per channel serves both the event loop (prefork) and ``drain_events``. It always has at most
one command under way, a claim (answered at once) or a wait (answered when a doorbell rings, at the latest
after a second). kombu's poller starts it (``_brpop_start``) and hands over the reply (``_brpop_read``).

A claim whose reply never came may have been executed, now or later. Its lease is then set aside: what nobody
here refers to returns to its queue, and consuming goes on with a new lease.

Queues consumed without acknowledgement (replies to ``inspect``) are kombu's own affair, unless the same
channel consumes others too.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from time import monotonic
from typing import Any

from kombu.transport.redis import _socket_readable
from kombu.utils.scheduling import priority_cycle
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from . import keys, scripts
from .acks import NOTHING, Batch
from .delivering import Claimed, DeliveringMixin
from .lease import Lease, LeaseLost
from .message import unproven_in_hand
from .raw_connection import packed
from .renewal import ACK_LINGER

PROMOTE_AT_ONCE = 100
"""Ready messages up to which a claim promotes due ones, so that 100,000 due at once neither block nor starve."""
LONGEST_WAIT = 10.0
"""Seconds for which a consumer waits at the doorbells; its renewer looks every second, and rings."""
KOMBUS_WAIT = 1
"""What kombu waits, unless the user says otherwise (``polling_interval``)."""
QUIET = 0.5
"""Seconds after which a server may have closed a connection on which nothing is under way (its ``timeout``)."""


class Asked(enum.Enum):
    """What was sent on the polling connection."""

    NOTHING = enum.auto()
    CLAIM = enum.auto()
    WAIT = enum.auto()
    BRPOP = enum.auto()


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim under way: whose, from which queues, the number of the first message, what it acknowledges."""

    lease: Lease
    queues: tuple[str, ...]
    first: int
    size: int
    batch: Batch = NOTHING


class ConsumingMixin(DeliveringMixin):
    """The consuming half of a channel; needs the other half (``channel.LeaseMixin``)."""

    def _init_consuming(self: Any) -> None:
        self._init_delivering()
        self._asked = Asked.NOTHING
        self._claim: Claim | None = None
        self._next_number = 1
        self._exhausted = self._passed_over = False
        self._next_due: float | None = None

    # which queues
    def basic_consume(self: Any, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from ``queue``."""
        self._look_again()
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
        if not self.active_queues and self._asked is Asked.CLAIM:
            # its reply holds messages that nobody will read for; have them now and return them
            with contextlib.suppress(Empty):
                self._brpop_read()
        return result

    @property
    def _leases(self: Any) -> bool:
        return any(queue not in self._no_ack for queue in self.active_queues)

    # asking
    def has_to_ask(self: Any) -> bool:
        """Whether there is something to ask the server now, or to deliver that it has given."""
        return self.qos.can_consume() and bool(self._no_ack or self._claimed or self._claim_size())

    def _brpop_start(self: Any, timeout: float | None = None) -> None:
        if self._no_ack and not self._leases and self.active_queues:
            self._asked = Asked.BRPOP
            super()._brpop_start(timeout)  # type: ignore[misc]  # a mixin
            return
        if self._claimed:
            self._deliver_claimed()
        size = self._claim_size()
        queues = self._queue_cycle.consume(len(self.active_queues)) if size else ()
        if not queues:
            return
        idle = self._exhausted and (self._next_due is None or self._next_due > monotonic())
        if idle and self._lease is not None:
            self._send_wait(queues)
        else:
            self._send_claim(self._new_claim(queues, size))

    def _claim_size(self: Any) -> int:
        """How many messages to claim now. At least half the prefetch, which saves round trips, or whatever is
        free once the acknowledgements that are to travel with the claim have waited for ``ACK_LINGER``.
        """
        free = self.qos.free()
        if free is None or self.qos.one_at_a_time:
            return 1 if free is None or free else 0
        if free * 2 < self.qos.prefetch_count and not self._exhausted and (lease := self._lease):
            age = lease.acks.age()
            if age is not None and age < ACK_LINGER:
                return 0
        return int(free)

    def _new_claim(self: Any, queues: Sequence[str], size: int) -> Claim:
        lease, first = self.lease, self._next_number
        self._next_number += size  # whatever becomes of it: a number is used once
        return Claim(lease, tuple(queues), first, size, lease.acks.take())

    def _call(self: Any, claim: Claim) -> tuple[list[str], list[Any]]:
        """The keys and arguments of ``claim.lua``."""
        prefix, steps, queues = self.global_keyprefix, self.priority_steps, claim.queues
        turns = int(not isinstance(self._queue_cycle, priority_cycle))
        args = [claim.lease.id, claim.size, claim.first, turns, PROMOTE_AT_ONCE, len(queues), len(steps)]
        args += [*self._doubts(claim), claim.lease.received]
        args += [prefix, self.sep, keys.bell(prefix, ""), keys.delayed(prefix, "")]
        return claim.lease.owned, [*args, *steps, *queues, *claim.batch.args()]

    def _doubts(self: Any, claim: Claim) -> tuple[int, int]:
        """How many unproven jobs to take, and how many of the others to note as begun.

        One unproven job at a time: of two that come back together from a worker that died, the innocent would be
        counted along with the guilty one each time.
        """
        slots = self.connection.slots
        if slots is None:
            return claim.size, -1
        return int(not unproven_in_hand()), self._starts.with_claim(slots - len(self._in_hand))

    def _look_again(self: Any) -> None:
        """An unproven job is settled, and others were passed over because of it; or there is one queue more."""
        self._exhausted = self._passed_over = False
        if self._asked is Asked.WAIT and self._lease is not None:
            self._lease.renewer.ring_at(monotonic())

    def _send_claim(self: Any, claim: Claim, *, whole: bool = False) -> None:
        command = scripts.CLAIM.by_source if whole else scripts.CLAIM.by_hash
        self._claim = claim
        self._send(Asked.CLAIM, command(*self._call(claim)))

    def _send_wait(self: Any, queues: Sequence[str]) -> None:
        bells = [self._lease.wake, *(keys.bell(self.global_keyprefix, queue) for queue in queues)]
        longest = LONGEST_WAIT if self.brpop_timeout in (0, KOMBUS_WAIT) else self.brpop_timeout
        if self._next_due is not None and self._next_due - monotonic() < longest:
            self.lease.renewer.ring_at(self._next_due)
        self._send(Asked.WAIT, ("BLPOP", *bells, f"{longest:.3f}"))
        self._lease.watched = (tuple(self.priority_steps), tuple(queues))

    def _send(self: Any, asked: Asked, command: Sequence[Any]) -> None:
        self._in_poll, self._asked = self.client.connection, asked
        self._brpop_sent_at = monotonic()
        try:
            self.client.connection.send_packed_command(packed(command))
        except BaseException:
            self.client.connection.disconnect()
            raise

    def leave_closed(self: Any) -> None:
        """Before something is asked: let go of a connection that the server has closed since the last answer."""
        connection = getattr(self.client, "connection", None)
        if self._in_poll or connection is None or monotonic() - (self._brpop_sent_at or 0.0) < QUIET:
            return
        sock = connection._sock  # noqa: SLF001 - redis-py has no public word for it
        if sock is not None and _socket_readable(sock):
            connection.disconnect()

    # being answered
    def _brpop_read(self: Any, **options: Any) -> Any:
        if self._asked is Asked.NOTHING:  # closed by the server, while nothing was under way
            self.client.connection.disconnect()
            raise Empty
        if self._asked is Asked.BRPOP:
            self._asked = Asked.NOTHING
            return super()._brpop_read(**options)  # type: ignore[misc]  # a mixin
        claim = self._claim
        try:
            reply = self._read_reply()
        except NoScriptError:
            self._send_claim(claim, whole=True)
            raise Empty from None
        self._flush_brpop_reauth()
        if claim is None:
            if self._lease is not None:
                self._lease.watched = None
            self._exhausted, self._next_due = False, None
            self.connection.cycle.maybe_restore_messages()
        else:
            self._accept(claim, reply)
            if self._claimed:
                self._deliver_claimed()
                return True
        if (claim is None or self._exhausted) and self.active_queues and self.qos.can_consume():
            self._brpop_start()
        raise Empty

    def _read_reply(self: Any) -> Any:
        connection = self.client.connection
        try:
            reply = connection.read_response()
        except NoScriptError:
            self._in_poll, self._asked, self._claim = None, Asked.NOTHING, None
            raise
        except ResponseError as exc:  # the server cannot serve us now: read-only, full, shutting down, ...
            connection.disconnect()
            raise RedisConnectionError(f"cannot claim: {exc}") from exc
        except BaseException:
            connection.disconnect()
            raise
        self._in_poll, self._asked, self._claim = None, Asked.NOTHING, None
        return reply

    def _accept(self: Any, claim: Claim, reply: list[Any]) -> None:
        """Take the reply to a claim into the books."""
        if reply[0] != b"ok":
            claim.lease.mark_lost()
            self.check_lease()
            return
        claim.lease.acks.confirm(claim.batch)
        at, wait, self._exhausted = float(reply[1]), float(reply[2]), not reply[3]
        self._next_due = monotonic() + wait if wait >= 0 else None
        self._passed_over = bool(reply[4])
        found = zip(reply[5::2], reply[6::2], strict=True)
        self._receiving = claim.first
        for number, (position, raw) in enumerate(found, claim.first):
            queue = claim.queues[abs(position) - 1]
            self._claimed.append(Claimed(claim.lease, number, queue, raw, at, position < 0))
            self._queue_cycle.rotate(queue)

    # trouble
    def _on_connection_disconnect(self: Any, connection: Any) -> None:
        """Whoever ended the connection: a command that was under way on it gets no answer."""
        claim = self._claim if self._in_poll is connection else None
        super()._on_connection_disconnect(connection)  # type: ignore[misc]  # a mixin
        if claim is not None:
            self._asked, self._claim = Asked.NOTHING, None
            self._without_answer(claim)

    def _without_answer(self: Any, claim: Claim) -> None:
        claim.lease.acks.put_back(claim.batch)
        if self._lease is claim.lease:
            self._lease = None
            self._claimed.clear()
            claim.lease.detach(self._delivered_under(claim.lease))

    def _delivered_under(self: Any, lease: Lease) -> dict[int, Any]:
        none = (None, "")
        delivered = self.qos.delivered()
        return {tag: m for tag, m in delivered.items() if self._in_hand.get(tag, none)[0] is lease}

    def _leave_poll(self: Any) -> None:
        """The channel ends: whatever was asked is not waited for. Its lease, ending too, refuses it."""
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.lease.acks.put_back(claim.batch)
        if self._asked in (Asked.CLAIM, Asked.WAIT):
            self._in_poll, self._asked = None, Asked.NOTHING
            self.client.connection.disconnect()

    def check_lease(self: Any) -> None:
        """Called before every poll: raise if our lease was taken, and start afresh afterwards."""
        lease = self._lease
        if lease is None:
            return
        try:
            lease.verify()
        except LeaseLost:
            self._leave_poll()
            self._lease = None
            self._claimed.clear()
            lease.release()
            raise

    # one message, asked for
    def basic_get(self: Any, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message of ``queue``, or None; leased like any other unless ``no_ack``."""
        if no_ack:
            return super().basic_get(queue, no_ack=True, **kwargs)  # type: ignore[misc]  # a mixin
        waiting, self._claimed = self._claimed, type(self._claimed)()
        try:
            while True:
                claim = self._new_claim([queue], 1)
                try:
                    reply = scripts.CLAIM.run(claim.lease.client, *self._call(claim))
                except BaseException:
                    self._without_answer(claim)
                    raise
                self._accept(claim, reply)
                if not self._claimed:
                    return None
                if (body := self._open(self._claimed.popleft())) is not None:
                    message = self.Message(body, channel=self)
                    self.qos.append(message, message.delivery_tag)
                    return message
        finally:
            self._claimed, self._exhausted = waiting, False
