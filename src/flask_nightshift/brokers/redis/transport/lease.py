"""What one consumer has in its hands, and every change to it.

Invariants: a message is in exactly one place on the server at every instant; only the consumer that holds it,
or another that reclaims it after that one is gone, can move it; a consumer whose lease was taken can change nothing.

A lease outlives the connection that filled it. When a worker's connection breaks, the jobs that it is running
go on, so the lease is *detached*: what nobody in this process refers to any more returns to its queue, and
what somebody still does stays leased until it is settled.
"""

from __future__ import annotations

import functools
import logging
import secrets
import socket
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic
from typing import Any

from redis import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ....lifetime import greenlets
from ....lifetime.process import pid
from ....message.unique import Lock
from ....text.lines import Line
from . import log, process_leases, scripts
from .acks import NOTHING, Ack, Acks, Batch, lock_args, lock_keys
from .buffer import Buffer
from .keys import Destination, KeySpace
from .options import Options
from .renewal import LeaseRenewer

logger = logging.getLogger("flask_nightshift.transport")


class LeaseLost(RedisConnectionError):
    """Another consumer took over this one's messages, because it seemed to be gone.

    A connection error, so that Celery drops the jobs it has not started and connects anew.
    """


class Lease:
    """The lease of one consumer, alive from ``start()`` to ``release()``; safe to use from several threads."""

    def __init__(
        self,
        pool: ConnectionPool,
        keys: KeySpace,
        options: Options,
        on_change: Callable[[], None],
        *,
        tells_starts: bool = False,
    ) -> None:
        self.id = f"{socket.gethostname()}.{pid()}.{secrets.token_hex(4)}"
        self.keys, self.options = keys, options
        self.pool = pool
        self.client = Redis(connection_pool=pool)
        self.acks = Acks()
        self.lost = False
        self.on_change = on_change
        self.key, self.wake = keys.lease(self.id), keys.wake(self.id)
        self.tells_starts = tells_starts
        self.watched: tuple[tuple[int, ...], tuple[str, ...]] | None = None
        """The priority steps and queues for which its consumer waits at the doorbells."""
        self.buffer: Buffer[Any] | None = None
        """What the renewer returns if it is not delivered in time; None if it always is."""
        self.ordered: tuple[int, float] | None = None
        """The number of the last order for all workers, and when the server told it, on the monotonic clock."""
        self.queues: dict[str, None] = {}
        """The queues from which messages were claimed under it."""
        self.received: int | str = ""
        """First number of the latest claim of which every message has been received."""
        self._started = keys.started(self.id)
        self.owned = [keys.consumers, self.key, keys.leased, self._started]
        self._register = [keys.clients, keys.suspects, keys.late]
        self._pid = pid()
        self._client_id: int | str = ""
        self._held: dict[int, weakref.ref[Any]] | None = None
        self._jobs: dict[int, tuple[str, Any]] = {}  # queue and headers of what was delivered, for the log
        self._lock = greenlets.os_lock()
        self._ended = False
        self.renewer = LeaseRenewer(self)

    # life
    def start(self) -> None:
        """Register this consumer and keep its lease from now on."""
        self.renewer.start()
        process_leases.add(self)

    def renew(self, client: Redis, client_id: int | str, *, register: bool = False) -> bool:
        """Put the deadline off; False if the lease was taken."""
        self._client_id = client_id
        args = [self.id, self.options.lease_seconds, client_id, int(register), int(self.tells_starts)]
        keys = [self.owned[0], *self._register, self._started]
        reply = scripts.RENEW.run(client, keys, [*args, self.received])
        return reply == b"ok" or self._mark_lost()

    def pulse(self, client: Redis, client_id: int | str, *, others: bool) -> tuple[int, dict[str, str]]:
        """Put the deadline off, and ring if there is something that our consumer waits for.

        Gives, if asked for ``others``, how many consumers are late, and the client id of each.
        """
        self._client_id = client_id
        options, keys = self.options, self.keys
        late = (options.lease_seconds - options.lease_renew_seconds) / 2
        steps, queues = self.watched or ((), ())
        args = [self.id, options.lease_seconds, client_id, self.received, int(others), late]
        args += [len(queues), len(steps)]
        asked = monotonic()
        where = [self.owned[0], *self._register, self._started, keys.orders, *keys.of_queues(queues, steps)]
        reply = scripts.PULSE.run(client, where, args)
        if reply[0] != b"ok":
            self._mark_lost()
            return 0, {}
        self.ordered = int(reply[1]), asked
        texts = [text.decode() for text in reply[3:]]
        return int(reply[2]), dict(zip(texts[::2], texts[1::2], strict=True))

    def verify(self) -> None:
        """Raise ``LeaseLost`` if it was taken; asks the server when it was not renewed in time."""
        if not self.lost and self.renewer.overdue():  # this process was frozen: nobody knows for how long
            self.renew(self.client, self._client_id)
        if self.lost:
            raise LeaseLost(f"the lease of {self.id} was taken by another consumer")

    def release(self) -> None:
        """Clean end: send the last acknowledgements, return everything else at once and uncounted."""
        if not self._begin_end():
            return
        self.renewer.stop()
        try:
            if not self.lost:
                self._leave()
        except (RedisError, OSError) as exc:
            logger.warning(Line("lease.not_released", f"it will expire: {exc}", worker=self.id, why=str(exc)))
        finally:
            self.pool.disconnect()

    def _leave(self) -> None:
        *first, last = self.acks.take_all() or [NOTHING]
        for batch in first:
            self._acknowledge(batch)
        if self._give_back("but", (), counted=False, unregister=True, acks=last) < 0:
            self._mark_lost()

    def _begin_end(self) -> bool:
        with self._lock:
            first, self._ended = not self._ended, True
        return first and pid() == self._pid

    def holds(self, number: int) -> bool:
        """Whether a message is in our hands, as far as we know without asking the server."""
        return not self.lost and not self._ended and (self._held is None or number in self._held)

    # one message
    def deliver(self, number: int, queue: str, headers: Any) -> None:
        """A message is handed to the consumer."""
        self._jobs[number] = queue, headers

    def note_begun(self, numbers: Sequence[int]) -> bool:
        """Note that these deliveries begin; False if the lease was taken. Raises what redis-py does."""
        args = [self.id, self.received, *numbers]
        reply = scripts.START.run(self.client, [self.owned[0], self._started], args)
        return reply == b"ok" or self._mark_lost()

    def begin_unique(self, lock: Lock) -> str:
        """A unique job begins: '' if it may, else the id of the job that replaced it. Raises what redis-py does."""
        where = [self.owned[0], self.keys.replaced, self.keys.lock(lock.key)]
        reply: bytes = scripts.BEGIN_UNIQUE.run(self.client, where, [lock.job_id, lock.until])
        return reply.decode()

    def ack(self, queue: str, number: int) -> None:
        """It is done with. Sent with the next claim, or by the renewer a few milliseconds later."""
        _, headers = self._jobs.pop(number, (queue, None))
        if self.lost:
            log.came_too_late("an acknowledgement", headers, queue, worker=self.id)
        elif self.acks.add(Ack(queue, number, headers)):
            self.renewer.nudge()
        if self._held is not None:
            self._forget(number)

    def replace(
        self,
        number: int,
        queue: str,
        to: Sequence[Destination],
        step: int,
        due: float,
        payload: bytes,
        locks: Sequence[Lock] = (),
    ) -> bool:
        """Write ``payload`` to its destinations and release the original; False if it is no longer ours.

        ``locks`` are released with it.
        """
        where = [key for place in to for key in (place.ready, place.delayed, place.bell)]
        where = [*lock_keys(self.keys, locks), *where]
        args = (self.id, number, queue, f"{due:.6f}", step, payload, *lock_args(locks))
        if self.lost or not scripts.REPLACE.run(self.client, [*self.owned, *where], args):
            self._late("a replacement", number)
            self.renewer.check_soon()
            return False
        self._jobs.pop(number, None)
        self._forget(number)
        return True

    def give_back(self, numbers: Iterable[int], *, counted: bool) -> None:
        """Return messages to the heads of their queues at once."""
        numbers = list(numbers)
        if not numbers:
            return
        if self.lost or self._give_back("only", numbers, counted=counted, acks=NOTHING) < 0:
            self._late("a return", *numbers)
        for number in numbers:
            self._jobs.pop(number, None)
            self._forget(number)

    def return_buffered(self, client: Redis) -> None:
        """Return what waits in the buffer, uncounted; raises what redis-py does, and can be repeated."""
        if self.buffer is None:
            return
        numbers = self.buffer.leave()
        if numbers and self._give_back("only", numbers, counted=False, acks=NOTHING, client=client) < 0:
            self._mark_lost()
        self.buffer.left()

    def _give_back(
        self,
        which: str,
        numbers: Sequence[int],
        *,
        counted: bool,
        acks: Batch,
        unregister: bool = False,
        client: Redis | None = None,
    ) -> int:
        own = [(queue, step) for queue in self.queues for step in self.keys.steps]
        place_keys, places = self.keys.places(own)
        args = [self.id, which, int(counted), int(unregister), *places, len(numbers), *numbers, *acks.args()]
        where = [*self.owned, *self._register, *place_keys, *lock_keys(self.keys, acks.locks)]
        reply = scripts.GIVE_BACK.run(client or self.client, where, args)
        self.acks.confirm(acks)
        return int(reply)

    def flush(self, client: Redis) -> None:
        """Send what is waiting to be acknowledged."""
        self._acknowledge(self.acks.take(), client)

    def _acknowledge(self, batch: Batch, client: Redis | None = None) -> None:
        if not batch.acks:
            return
        try:
            where = [*self.owned, *lock_keys(self.keys, batch.locks)]
            reply = scripts.ACKNOWLEDGE.run(client or self.client, where, [self.id, *batch.args()])
        except BaseException:
            self.acks.put_back(batch)
            raise
        if reply == b"lost":
            self._mark_lost()
        self.acks.confirm(batch)

    # trouble
    def detach(self, messages: Mapping[int, Any]) -> None:
        """The connection broke: keep what of ``messages`` (by number) somebody still refers to, return the rest."""
        with self._lock:
            if self._ended or self._held is not None:
                return
            self._held = {}
            for number, message in messages.items():
                self._held[number] = weakref.ref(message, functools.partial(self._gone, number))
        self.on_change = lambda: None
        self.renewer.settle()

    @property
    def detached(self) -> bool:
        """Whether the connection that filled it is gone."""
        return self._held is not None

    def settle(self, client: Redis) -> int:
        """Return what is not held any more; how many still are. At 0 the lease has ended."""
        held = list(self._held or ())
        *first, batch = self.acks.take_all() or [NOTHING]
        for earlier in first:  # before the return, or what has ended would go back with the rest
            self._acknowledge(earlier, client)
        try:
            returned = self._give_back(
                "but", held, counted=False, unregister=not held, acks=batch, client=client
            )
        except BaseException:
            self.acks.put_back(batch)
            raise
        if returned < 0:
            self._mark_lost()
        elif returned:
            log.cut_off(self.id, returned)
        return 0 if self.lost else len(held)

    def _forget(self, number: int) -> None:
        if self._held is not None and pid() == self._pid and self._held.pop(number, None) is not None:
            self.renewer.settle()

    def _gone(self, number: int, _: object) -> None:
        self._forget(number)

    def _mark_lost(self) -> bool:
        if not self.lost:
            self.lost = True
            log.lost(self.id)
            for ack in self.acks.unconfirmed():
                log.came_too_late("an acknowledgement", ack.headers, ack.queue, worker=self.id)
            self.on_change()
        return False

    def mark_lost(self) -> None:
        """A reply said that this consumer is not on the register any more."""
        self._mark_lost()

    def _late(self, what: str, *numbers: int) -> None:
        for number in numbers:
            queue, headers = self._jobs.pop(number, ("", None))
            log.came_too_late(what, headers, queue, worker=self.id)

    def forked(self) -> None:
        """In a child: the lease is the parent's; let go of its sockets without a word to the server."""
        self.renewer.forked()
        self.pool.reset()
