"""The broker ``memory://``: the same guarantees inside one process, and a clock that tests can move.

Its workers run in this process (``--pool solo`` or ``threads``); other processes cannot reach it.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic, time
from typing import Any, TypeVar

from flask import Flask
from kombu.utils.url import url_to_parts
from msgspec.structs import replace
from sqlalchemy import make_url

from ...config.database_url import in_memory
from ...config.settings import Settings
from ...domain.job import DeadLetter
from ...errors import BrokerUnavailable
from ...message.burial import DEAD_QUEUE
from ...message.copies import REMEMBERED, copy_of, tell_duplicate
from ...message.envelope import Envelope
from ...message.unique import Held, Holders, marked, to_claim
from .. import payload
from ..base import MAX_TAKEN, UNSHARED, UNSHARED_REMEDY, PendingDeadLetter
from ..capabilities import Capabilities
from ..connections import MOST_IDLE, Connection
from ..failures import RETRY_POLICY, STEP, errors
from ..reading import age, read_dead_letter
from ..values import BrokerHealth, Finding, Place, QueueDepth, Where
from ..virtual import VirtualBroker, prepared_message
from .delayed import MemoryDelayed
from .locks import MemoryLocks
from .orders import MemoryOrders
from .server import MemoryServer, server
from .stored import Stored
from .transport import NAME
from .waiting import MemoryWaiting

T = TypeVar("T")
RESULTS = "cache+memory://"
"""Celery's result backend in this process, for a history in memory; it counts the jobs of a chord itself."""

CAPABILITIES = Capabilities(
    counts_starts=True,
    delayed_by_queue=True,
    lists_delayed=True,
    refuses_copies=True,
    holds_locks=True,
    skips_paused=True,
    shared=False,
)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A dead letter that is still in its queue as ``stored``."""

    letter: DeadLetter
    stored: Stored
    ask: Callable[[Callable[[MemoryServer], Any]], Any]

    def done(self) -> None:
        """Remove it; raises ``BrokerUnavailable``."""
        self.ask(lambda server: server.remove(self.stored))


class MemoryBroker(VirtualBroker):
    """The queues of one app; apps of this process that use the same name (``memory://NAME``) share them.

    ``now`` is the clock for delays, in seconds since 1970.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time) -> None:
        super().__init__(settings)
        self._name = url_to_parts(settings.broker_url).hostname or secrets.token_hex(8)
        self.server = server(self._name, now)

    def advance(self, seconds: float) -> None:
        """Shorten the delays of all delayed jobs by ``seconds``; jobs that are due then can be consumed at once."""
        self.server.advance(seconds)

    @property
    def capabilities(self) -> Capabilities:
        """The features of this broker; other processes cannot reach it."""
        return CAPABILITIES

    def celery_settings(self) -> dict[str, Any]:
        """Our transport; results, and the counters of chords, go to the history database, or are in memory, too."""
        results = (
            RESULTS
            if in_memory(make_url(self._settings.database_url))
            else f"db+{self._settings.database_url}"
        )
        return {
            "broker_url": f"memory://{self._name}/",
            "broker_transport": NAME,
            "broker_transport_options": self.write_options,
            "broker_connection_timeout": STEP,
            "broker_pool_limit": MOST_IDLE,
            "task_publish_retry": True,
            "task_publish_retry_policy": RETRY_POLICY,
            "result_backend": self._settings.result_backend or results,
        }

    @property
    def write_options(self) -> dict[str, Any]:
        """Transport options of every connection."""
        given = self._settings.celery.get("broker_transport_options") or {}
        return {"delivery_limit": self._settings.delivery_limit, **given}

    def _publish_some(
        self,
        channel: Any,
        envelopes: Sequence[Envelope],
        queue: str,
        once: tuple[str, int],
        *,
        from_outbox: bool = False,
        held: Holders | None = None,
    ) -> None:
        if from_outbox:
            envelopes = [each for each in envelopes if self._is_first(each, queue)]
        for envelope in envelopes:
            lock = to_claim(envelope.headers) if held is not None else None
            marked_one = replace(envelope, headers=marked(envelope.headers)) if lock else envelope
            try:
                super()._publish_some(channel, (marked_one,), queue, once)
            except Held as exc:
                if held is not None and lock is not None:
                    held[lock.job_id] = exc.holder

    def _is_first(self, envelope: Envelope, queue: str) -> bool:
        copy = copy_of(envelope.headers)
        first = copy is None or self.server.remember(copy.of, REMEMBERED)
        if not first:
            tell_duplicate(envelope.headers, queue)
        return first

    # settling

    def worker_begins(
        self, connection: Any, slots: int, window: Callable[[], int] | None, *, blocks_loop: bool = False
    ) -> None:
        """Do nothing: the channel counts a delivery when its message comes back."""

    def worker_ends(self, channel: Any, *, crashed: bool) -> None:
        """Tell the channel whether the deliveries that it returns count."""
        if crashed:
            channel.crashed = True
        else:
            channel.draining = True

    def begin(self, message: Any) -> bool:
        """Record that the job begins; False if the message is no longer ours."""
        return bool(message.channel.begin(message.delivery_tag))

    def holds(self, message: Any) -> bool:
        """Whether ``message`` is still delivered to this consumer."""
        return self.server.holds(message.delivery_tag)

    def ours_until(self, channel: Any) -> float:  # noqa: ARG002 - the Protocol's
        """Infinite: the broker lives and dies with this process."""
        return math.inf

    def replace(self, message: Any, envelope: Envelope, queue: str, *, due: datetime | None = None) -> bool:
        """Write the next state and acknowledge in one step."""
        prepared = prepared_message(message.channel, envelope.due_at(due))
        try:
            replaced = bool(message.channel.replace(message.delivery_tag, prepared, queue))
        except errors() as exc:
            raise self._fail(exc) from exc
        if replaced:
            message._state = "ACK"  # noqa: SLF001 - released with the write; kombu has no public way to say so
        return replaced

    # looking

    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """The depth of each queue, with all four numbers."""
        return self._ask(lambda server: [_depth(server, name) for name in queues])

    def place(self, queue: str, job_id: str, due: datetime | None) -> Place:  # noqa: ARG002 - the Protocol's
        """Where it is; the server has all messages in this process."""
        return self._ask(lambda server: _place(server, queue, job_id))

    def delayed(self) -> None:
        """None: ``depths`` gives the number by queue."""

    def delayed_jobs(self) -> MemoryDelayed:
        """Access to single delayed jobs."""
        return MemoryDelayed(self._ask)

    def waiting_jobs(self) -> MemoryWaiting:
        """Access to single waiting jobs."""
        return MemoryWaiting(self._ask)

    def purge(self, queue: str) -> int:
        """Delete the ready and the delayed jobs of ``queue``."""
        return self._ask(lambda server: server.purge(queue))

    def locks(self) -> MemoryLocks:
        """The locks of unique jobs."""
        return MemoryLocks(self._ask)

    def orders(self) -> MemoryOrders:
        """The orders for the workers of this process."""
        return MemoryOrders(self._ask)

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters, oldest first; they stay in the queue until ``done()``."""
        taken: list[PendingDeadLetter] = []
        size = 0
        for stored in self._ask(lambda server: server.ready(DEAD_QUEUE))[:limit]:
            if size >= max_bytes:
                break
            taken.append(_Taken(read_dead_letter(stored.payload), stored, self._ask))
            size += len(stored.payload)
        return taken

    def health(self, timeout: float = 2.0) -> BrokerHealth:  # noqa: ARG002 - the Protocol's
        """Answer, unless this is a forked process or a test made the broker unavailable."""
        started = monotonic()
        self._ask(lambda server: server.check())
        return BrokerHealth("Memory", "", monotonic() - started)

    def diagnose(
        self,
        *,
        longest_time_limit: float | None,  # noqa: ARG002 - the Protocol's
        queues: Iterable[str],  # noqa: ARG002 - the Protocol's
    ) -> list[Finding]:
        """One finding: other processes cannot reach this broker."""
        try:
            self.health()
        except BrokerUnavailable as exc:
            return [Finding("error", "broker", str(exc), UNSHARED_REMEDY)]
        return [Finding("error", "broker", UNSHARED, UNSHARED_REMEDY)]

    def _ask(self, question: Callable[[MemoryServer], T]) -> T:
        try:
            return question(self.server)
        except errors() as exc:
            raise self._fail(exc) from exc

    def _connect(self) -> Connection:
        return Connection(
            f"memory://{self._name}/",
            transport=NAME,
            transport_options={**self.write_options, **RETRY_POLICY},
            connect_timeout=STEP,
        )


def _depth(server: MemoryServer, queue: str) -> QueueDepth:
    counts = server.counts(queue)
    oldest = age(stored.payload for stored in server.ready(queue)[:1])
    return QueueDepth(queue, counts.ready, counts.delayed, counts.leased, oldest)


def _place(server: MemoryServer, queue: str, job_id: str) -> Place:
    for before, stored in enumerate(server.ready(queue)):
        if _job_id(stored) == job_id:
            return Place(Where.READY, before, unproven=stored.deliveries > 0)
    if any(_job_id(stored) == job_id for _, stored in server.delayed(queue)):
        return Place(Where.DELAYED)
    return Place(Where.UNKNOWN)


def _job_id(stored: Stored) -> str:
    return payload.job_id(payload.parse(stored.payload))


def make(settings: Settings, app: Flask) -> MemoryBroker:  # noqa: ARG001 - every broker's signature
    """The broker for ``connect``."""
    return MemoryBroker(settings)
