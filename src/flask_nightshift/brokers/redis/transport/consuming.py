"""Consuming: claim a batch of messages, or wait at the doorbells.

One connection for each channel serves both the event loop (prefork) and ``drain_events`` (``polling.py``). If the reply
to a claim never comes, the claim may have been executed, now or later. The consumer then detaches that lease: messages
that this process does not refer to return to their queues, and consuming goes on under a new lease.

Queues consumed without acknowledgement (replies to ``inspect``) are left to kombu, unless the same channel also
consumes others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from queue import Empty
from time import monotonic
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from . import scripts
from .buffer import Buffer
from .claiming import Claims
from .deliveries import Claimed, Deliveries
from .intake import Intake
from .keys import KeySpace
from .kombu_channel import KombuChannel
from .lease import Lease, LeaseLost
from .message import unproven_in_hand
from .options import Options
from .polling import Asked, Claim, Polling

LONGEST_WAIT = 10.0
"""Seconds for which a consumer waits at the doorbells; its renewer looks every second, and rings."""
KOMBUS_WAIT = 1
"""What kombu waits, unless the user says otherwise (``polling_interval``)."""


class Consumer:
    """The consuming half of a channel; ``step_of(payload)`` is the priority step of a message."""

    def __init__(
        self, kombu: KombuChannel, keys: KeySpace, options: Options, step_of: Callable[[dict[str, Any]], int]
    ) -> None:
        self._kombu = kombu
        self._keys = keys
        self._polling = Polling(kombu)
        self._claimed = Buffer[Claimed]()
        self.deliveries = Deliveries(self._settled, self._claimed.next, ahead=options.delivery_limit > 1)
        self._intake = Intake(keys, options, self.deliveries, step_of)
        self._claims = Claims(kombu, keys, self.deliveries)
        self.lease: Lease | None = None
        """The current lease; None before the first claim."""
        self._receiving = 0
        self._no_ack: set[str] = set()
        self._leaving: set[str] = set()
        self._paused: frozenset[str] = frozenset()

    # which queues
    def begin(self, queue: str, *, no_ack: bool) -> None:
        """Consume from ``queue``; ``no_ack``: without acknowledgements."""
        self._look_again()
        self._leaving.discard(queue)
        if no_ack:
            self._no_ack.add(queue)

    def leave(self, queue: str) -> None:
        """Deliver nothing more from ``queue``. kombu postpones the end of consuming while it handles a reply."""
        self._leaving.add(queue)

    def skip(self, paused: frozenset[str]) -> None:
        """These queues are paused now, and no others; called in any thread. The claim script knows that by itself."""
        self._paused = paused
        self._look_again()

    def ends(self, queue: str | None) -> None:
        """``queue`` is about to be consumed no longer."""
        self._no_ack.discard(queue or "")

    def ended(self) -> None:
        """It is consumed no longer. If it was the last, return what a claim under way brings: nobody reads it later."""
        claim = self._polling.claim
        if self._kombu.active_queues or claim is None:
            return
        if self._polling.asked is Asked.CLAIM or self._end_wait(claim.lease):
            with contextlib.suppress(Empty):
                self.read()

    def _end_wait(self, lease: Lease) -> bool:
        """Have the server answer the wait, so that it makes the claim behind it; False if it cannot be reached."""
        try:
            scripts.RING.run(lease.client, [lease.wake], [])
            self._read_wait()
        except (RedisError, OSError):
            self._polling.disconnect()
            return False
        return True

    def left_to_kombu(self) -> bool:
        """Whether kombu's own BRPOP is to be used, because no queue needs acknowledgements; it is noted as sent."""
        if self._no_ack and (active := self._kombu.active_queues) and self._no_ack.issuperset(active):
            self._polling.asked = Asked.BRPOP
            return True
        return False

    def took_from_kombu(self) -> bool:
        """Whether the reply to be read is kombu's own; it is noted as read."""
        if self._polling.asked is Asked.BRPOP:
            self._polling.asked = Asked.NOTHING
            return True
        return False

    # asking
    def has_to_ask(self) -> bool:
        """Whether there is something to ask the server now, or to deliver that it has given."""
        return self._kombu.qos.can_consume() and bool(self._no_ack or self._claimed or self._size())

    def start(self) -> None:
        """Deliver what is claimed, then claim more, or wait if the last claim emptied the queues."""
        if self._claimed:
            self._deliver_claimed()
        size = self._size()
        queues = self._kombu.next_queues() if size else ()
        if not queues:
            return
        if self._claims.idle() and self.lease is not None:
            self._send_wait(self.lease, queues)
        else:
            self._send_claim(self._claims.new(self.need_lease(), queues, size))

    def claim_behind_wait(self) -> None:
        """While nothing is in hand: have the server claim as soon as the wait under way ends."""
        lease = self.lease
        if lease is None or self._no_ack or not self._polling.waits_alone:
            return
        size = self._claims.size_behind_wait(lease)
        queues = self._kombu.next_queues() if size else ()
        if queues:
            claim = self._claims.new_behind_wait(lease, queues, size)
            self._polling.send_behind(scripts.CLAIM.by_hash(*self._claims.call(claim)), claim)

    def _size(self) -> int:
        return self._claims.size(self.lease)

    def _settled(self) -> None:
        if self._claims.skipped and self._claims.one_can_begin() and not unproven_in_hand():
            self._look_again()

    def _look_again(self) -> None:
        """Claim although the last claim emptied the queues.

        Either an unproven job is settled, and the claim skipped others because of it, or there is one queue more, or
        the pause of a queue has ended.
        """
        self._claims.look_again()
        if self._polling.asked is Asked.WAIT and self.lease is not None:
            self.lease.renewer.ring_at(monotonic())

    def _send_claim(self, claim: Claim, *, whole: bool = False) -> None:
        command = scripts.CLAIM.by_source if whole else scripts.CLAIM.by_hash
        self._polling.send(Asked.CLAIM, command(*self._claims.call(claim)), claim)

    def _longest_wait(self) -> float:
        """The seconds until the server answers a wait, whatever happens.

        kombu drops a connection on which nothing was answered for ``wait_seconds`` and ``health_seconds`` together.
        """
        kombus, health = self._kombu.wait_seconds, self._kombu.health_seconds
        if kombus not in (0, KOMBUS_WAIT):
            return kombus
        return min(LONGEST_WAIT, health) if health else LONGEST_WAIT

    def _send_wait(self, lease: Lease, queues: Sequence[str]) -> None:
        queues = [queue for queue in queues if queue not in self._paused]
        bells = [lease.wake, *map(self._keys.bell, queues)]
        longest = self._longest_wait()
        due = self._claims.next_due
        if due is not None and due - monotonic() < longest:
            self.need_lease().renewer.ring_at(due)
        self._polling.send(Asked.WAIT, ("BLPOP", *bells, f"{longest:.3f}"))
        lease.watched = (self._keys.steps, tuple(queues))

    # being answered
    def read(self) -> bool:
        """Take the reply on the polling connection.

        Returns True if something was delivered, and raises ``queue.Empty`` if not, as kombu wants it.
        """
        if self._polling.asked is Asked.NOTHING:  # closed by the server, while nothing was under way
            self._polling.disconnect()
            raise Empty
        claim, waited = self._polling.claim, self._polling.asked is Asked.WAIT
        if waited:
            self._read_wait()
            if claim is not None and not self._polling.has_reply():
                raise Empty
        delivered = claim is not None and self._read_claim(claim)
        if waited:
            self._kombu.restore_left_behind()
        if delivered:
            return True
        if (waited or self._claims.exhausted) and self._kombu.active_queues and self._kombu.qos.can_consume():
            self._kombu.ask()
        raise Empty

    def _read_wait(self) -> None:
        """A doorbell has rung, or the wait was long enough."""
        self._polling.read()
        if self.lease is not None:
            self.lease.watched = None
        self._claims.woken()

    def _read_claim(self, claim: Claim) -> bool:
        """Take the reply to a claim; whether something was delivered."""
        try:
            reply = self._polling.read()
        except NoScriptError:
            self._send_claim(claim, whole=True)
            raise Empty from None
        self._keep(claim.lease, self._accept(claim, reply))
        if not self._claimed:
            return False
        self._deliver_claimed()
        return True

    def _accept(self, claim: Claim, reply: list[Any]) -> list[Claimed]:
        """What the reply to a claim brought."""
        if reply[0] != b"ok":
            claim.lease.mark_lost()
            self.check_lease()
            return []
        claim.lease.acks.confirm(claim.batch)
        self._receiving = claim.first
        found = list(self._claims.received(claim, reply))
        served = None
        for claimed in found:
            if claimed.queue != served:  # the same queue twice changes nothing
                served = claimed.queue
                self._kombu.served(served)
        found.sort(key=_unproven_first)
        return found

    def _keep(self, lease: Lease, found: list[Claimed]) -> None:
        self._claimed.add(found)
        if len(found) > 1 and lease.buffer is not None:
            lease.renewer.mind_buffer()

    def _deliver_claimed(self) -> None:
        lease, of_paused = None, list[int]()
        while (claimed := self._claimed.take()) is not None:
            lease = claimed.lease
            if claimed.queue in self._paused:
                of_paused.append(claimed.number)
            elif claimed.queue in self._leaving or not self._kombu.consumes(claimed.queue):
                claimed.lease.give_back([claimed.number], counted=False)
            elif (body := self._open(claimed)) is not None:
                self._kombu.hand_out(body, claimed.queue)
                if claimed.queue in self._no_ack:
                    self.deliveries.ack(claimed.number)
        if lease is not None:
            lease.give_back(of_paused, counted=False)  # together, to keep their order
            lease.received = self._receiving

    def _open(self, claimed: Claimed) -> dict[str, Any] | None:
        try:
            return self._intake.open(claimed)
        except BaseException:
            self._claimed.put_back(claimed)
            raise

    # one message, asked for
    def get(self, queue: str) -> dict[str, Any] | None:
        """One message of ``queue``, leased like any other; None if there is none."""
        try:
            while True:
                claim = self._claims.new(self.need_lease(), [queue], 1)
                try:
                    reply = scripts.CLAIM.run(claim.lease.client, *self._claims.call(claim))
                except BaseException:
                    self._without_answer(claim)
                    raise
                found = self._accept(claim, reply)
                if not found:
                    return None
                if (body := self._open(found[0])) is not None:
                    return body
        finally:
            self._claims.exhausted = False

    # the lease, and trouble with it
    def need_lease(self) -> Lease:
        """The lease, made and registered at first use; raises ``LeaseLost`` if it was taken."""
        if self.lease is None:
            self.lease = self._kombu.new_lease(self._claimed)
        self.check_lease()
        return self.lease

    def check_lease(self) -> None:
        """Raise ``LeaseLost`` if our lease was taken, and start afresh afterwards."""
        lease = self.lease
        if lease is None:
            return
        try:
            lease.verify()
        except LeaseLost:
            self.stop_polling()
            self._drop_lease()
            lease.release()
            raise

    def drop_closed(self, connection: Any) -> None:
        """Before something is asked: close a connection whose other end the server has closed."""
        self._polling.drop_closed(connection)

    def disconnected(self) -> None:
        """The polling connection ended: the command that was under way gets no answer."""
        if (claim := self._polling.disconnected()) is not None:
            self._without_answer(claim)

    def stop_polling(self) -> None:
        """Wait for no reply. The lease ends too, and refuses the claim that may be under way."""
        if (claim := self._polling.leave()) is not None:
            claim.lease.acks.put_back(claim.batch)

    def release(self, *, crashed: bool) -> None:
        """The end of consuming: return everything at once; after a crash, what had begun is counted."""
        lease = self._drop_lease()
        if lease is None:
            return
        if crashed:
            self.deliveries.count_what_may_have_crashed(lease)
        lease.release()

    def detach(self) -> Callable[[], None]:
        """The connection broke: give up the lease; what to call when nothing here refers to its messages."""
        lease = self._drop_lease()
        if lease is None:
            return lambda: None
        delivered = self._delivered_under(lease)
        return lambda: lease.detach(delivered)

    def forked(self) -> None:
        """In a child: the lease and the command under way are the parent's."""
        self.lease, self._polling.claim = None, None

    def _drop_lease(self) -> Lease | None:
        lease, self.lease, self._claimed = self.lease, None, Buffer[Claimed]()
        return lease

    def _without_answer(self, claim: Claim) -> None:
        claim.lease.acks.put_back(claim.batch)
        if self.lease is claim.lease:
            self._drop_lease()
            claim.lease.detach(self._delivered_under(claim.lease))

    def _delivered_under(self, lease: Lease) -> dict[int, Any]:
        held = self.deliveries.under(lease)
        return {tag: message for tag, message in self._kombu.qos.delivered().items() if tag in held}


def _unproven_first(claimed: Claimed) -> bool:
    return not claimed.unproven


__all__ = ["Consumer"]
