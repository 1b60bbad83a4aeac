"""The interface of a broker: one small protocol for each use. ``values.py`` has what they return.

A broker object is cheap, opens no connection before its first network call, and is safe to use from several threads.
All its network calls have a time limit, and raise ``BrokerUnavailable`` when the broker is down, refuses, or does not
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from ..domain.job import DeadLetter
from ..errors import ConfigurationError
from ..message.envelope import Envelope
from ..message.unique import Holders
from .capabilities import Capabilities
from .locks import Locks
from .orders import OrderBook
from .ticks import Ticks
from .values import BrokerHealth, DelayedJob, Dues, Finding, Place, QueueDepth

T = TypeVar("T")

PUBLISH_TIMEOUT = 3.0
"""Seconds within which a publish succeeds or raises ``BrokerUnavailable`` (invariant 8)."""

HEARD_WITHIN = 2.5
"""Seconds after which a number of ``last_order`` is too old."""

MAX_TAKEN = 4_000_000
"""Bytes of dead letters after which ``take_dead_letters`` takes no further one."""

UNSHARED = "no other process reaches memory://: web, workers and Beat would each have queues of their own"
UNSHARED_REMEDY = (
    "Use it in tests only; else let NIGHTSHIFT_BROKER_URL be embedded://, or the URL of a server."
)


class DelayedJobs(Protocol):
    """Access to the delayed jobs of a broker, one by one; all methods raise ``BrokerUnavailable``.

    ``wanted``: a job with a time may be looked for around it only, which is cheap. Those without one are looked for
    together, among all delayed jobs of the queue.
    """

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs of ``queue``, those due soonest first."""

    def following(self, queue: str, limit: int, after: tuple[datetime, str] | None) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs of ``queue`` by time and id, those that follow ``after``.

        Jobs that are due at the moment of ``after`` are all looked at, so a million of one moment take seconds.
        """

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs of ``queue`` that begin or end with ``part``."""

    def find(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Those of the jobs ``wanted`` that are delayed in ``queue``."""

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Remove the jobs ``wanted``, so they will not run; returns those that were delayed in ``queue``.

        Raises ``TakenInPart`` if the broker goes away after the first of them.
        """

    def run_now(self, queue: str, wanted: Dues) -> list[str]:
        """Move the jobs ``wanted`` to the head of ``queue``, in order; the ids of those that were delayed there."""

    def hand_over(self, queue: str) -> int:
        """Give all delayed jobs of ``queue`` to stock Celery workers, which hold them in memory; returns the number."""


class WaitingJobs(Protocol):
    """Access to the jobs that wait in queues, ready or delayed."""

    def take(self, queue: str, wanted: Dues) -> list[DelayedJob]:
        """Remove those of the jobs that wait in ``queue``, so they will not run, with the locks of unique ones.

        Returns those that were removed. It does not look where that would keep the broker busy: in a long list, in a
        worker's hands, or among delayed jobs for one whose time is not known. Raises ``BrokerUnavailable``.
        """


class PendingDeadLetter(Protocol):
    """A dead letter that stays in the dead-letter queue, or returns to it, until ``done()``."""

    @property
    def letter(self) -> DeadLetter:
        """The dead letter."""

    def done(self) -> None:
        """Remove it from the queue, after it is archived; raises ``BrokerUnavailable``."""


class Publisher(Protocol):
    """Puts messages into queues."""

    @property
    def write_options(self) -> dict[str, Any]:
        """``broker_transport_options`` for connections that publish; no network step takes longer than ``STEP``.

        Consumers wait longer, because a slow answer is no reason to drop the messages that they hold.
        """

    @property
    def publish_options(self) -> dict[str, Any]:
        """Options for every publish by Celery's producer: on RabbitMQ ``mandatory``, and the time limits."""

    def send(self, producer: Any, queue: Any, publish: Callable[[], T]) -> T:
        """Publish to ``queue`` (a ``kombu.Queue``, or None if unknown) by calling ``publish()``; returns its result.

        It first declares what is missing. If the broker has lost a queue or an exchange, it declares all again and
        calls ``publish()`` a second time. Raises ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT``.
        """

    def publish(
        self, envelope: Envelope, queue: str, *, due: datetime | None = None, held: Holders | None = None
    ) -> None:
        """Publish durably to ``queue``, at once or delayed in the broker until ``due``.

        Returns when the broker has confirmed it; raises ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT``.

        ``held``: a unique job claims its lock in the same step (``Capabilities.holds_locks``). If another job holds it,
        nothing is enqueued, and ``held`` gets that job's id.
        """

    def publish_many(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        *,
        due: datetime | None = None,
        from_outbox: bool = False,
        held: Holders | None = None,
    ) -> Iterator[int]:
        """Publish all ``envelopes``, which have the same priority, to ``queue`` in a few steps.

        After each step it yields how many envelopes the broker has confirmed in that step, in their order. Raises
        ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT`` of the last step; the confirmed ones are enqueued.

        ``from_outbox``: the envelopes are numbered (``message/copies.py``). With ``Capabilities.refuses_copies``, those
        that are a second publish of their attempt are logged as ``job.duplicate``, and count as confirmed.

        ``held`` is as for ``publish``; jobs that were not enqueued because of it count as confirmed.
        """

    def ticks(self) -> Ticks | None:
        """The ticks of schedule entries; None if the broker cannot claim one in the step that takes its job."""

    def address(self, queue: Any) -> tuple[str, str]:
        """The exchange and routing key of an undelayed message to ``queue`` (a ``kombu.Queue``)."""

    def delayed_address(self, queue: str, seconds: int) -> tuple[str, str]:
        """The exchange and routing key by which a message reaches ``queue`` after ``seconds`` (at least 1).

        Without ``Capabilities.whole_seconds`` it is the address of an undelayed message, and the header ``eta`` delays
        it.
        """

    def routing_key(self, queue: str, due: datetime | None) -> str:
        """The routing key with which ``publish`` sends a message to ``queue``; empty without one."""

    def reaches(self, queue: Any) -> bool:
        """Whether ``publish`` can reach ``queue`` (a ``kombu.Queue``) by name, because its declaration is ordinary."""


class Settler(Protocol):
    """Settles the messages that a worker consumes."""

    def prepare(self, connection: Any, queues: Sequence[Any]) -> None:
        """Declare what a consumer of ``queues`` needs; a worker calls it each time that it connects."""

    def worker_begins(
        self, connection: Any, slots: int, window: Callable[[], int] | None, *, blocks_loop: bool = False
    ) -> None:
        """Called before a worker consumes over ``connection``; it runs up to ``slots`` jobs at the same time.

        ``window()`` is how many jobs it may hold now; None leaves that to Celery's prefetch count. ``blocks_loop``: a
        job runs in the thread of the event loop, which does nothing else meanwhile.
        """

    def adjust_intake(self, channel: Any, *, children: int, window: int, held: int) -> None:
        """With ``Capabilities.fixes_prefetch``: have ``channel`` get messages until its worker holds ``window`` jobs.

        The worker calls it in its event loop when it has ended jobs. It holds ``held`` now, and has ``children``.
        """

    def skip_paused(self, channel: Any, queues: frozenset[str]) -> None:
        """With ``Capabilities.skips_paused``: the worker on ``channel`` knows that these queues are paused now.

        It is called in any thread. The broker looks again into queues that are paused no longer.
        """

    def last_order(self, channel: Any) -> int | None:
        """The number of the last order for all workers (``orders.py``), as the worker on ``channel`` heard in passing.

        It asks no server. None if the worker hears of none, or has not in the last ``HEARD_WITHIN`` seconds.
        """

    def end_consumer(self, channel: Any, tag: str) -> None:
        """End the consumer ``tag`` of a paused queue soon, without the worker waiting for an answer.

        What it has delivered stays with the worker.
        """

    def worker_ends(self, channel: Any, *, crashed: bool) -> None:
        """Called before a worker ends and returns the messages that it holds on ``channel``.

        ``crashed``: one of the messages may be the cause, so their deliveries count. Otherwise the worker was asked to
        stop, and they do not count.
        """

    def begin(self, message: Any) -> bool:
        """Count the delivery of ``message``, before its job begins.

        False if another consumer has taken the message over; then the job must not begin. Always True without
        ``Capabilities.counts_starts``. Raises one of ``errors``; then the job must not begin either.
        """

    def holds(self, message: Any) -> bool:
        """Whether ``message`` is still delivered to this consumer.

        A broker that cannot tell returns True: it gives the message to no other consumer while our connection lives.
        """

    def ours_until(self, channel: Any) -> float:
        """Until when this consumer keeps what ``channel`` delivered to it, even if this process is frozen from now on.

        In seconds of ``CLOCK_BOOTTIME``. Infinite where only the connection decides.
        """

    def replace(self, message: Any, envelope: Envelope, queue: str, *, due: datetime | None = None) -> bool:
        """Write a delivered message's next state, then acknowledge the message (invariant 1).

        ``message`` is the ``kombu.Message`` to settle. It is one atomic step where the broker supports that. Elsewhere
        the broker confirms the new message first, so a crash in between causes a duplicate and never a loss. Returns
        False, without writing, if another consumer has taken the message over. Raises ``BrokerUnavailable`` with the
        message still unacknowledged.
        """

    def quarantine_of(self, queue: Any) -> Any:
        """The quarantine queue of ``queue`` (both ``kombu.Queue``); None if it has none, or the broker needs none.

        Its jobs run one at a time, because each of them may kill its worker.
        """

    def missed(self, messages: Sequence[Any]) -> Sequence[Any]:
        """Those of the delivered ``messages``, whose jobs have not begun, that a worker elsewhere may be waiting for.

        Raises ``BrokerUnavailable``.
        """

    def return_unstarted(self, messages: Sequence[Any]) -> None:
        """Return delivered messages whose jobs have not begun to their queues, uncounted.

        They go to the heads of their queues, in order, where the broker can do that. Raises ``BrokerUnavailable``; then
        the call can be repeated.
        """

    def give_back(self, message: Any) -> None:
        """Return a delivered message unchanged to its queue; brokers that count deliveries count this one.

        Does nothing if another consumer has taken the message over. Raises ``BrokerUnavailable``; the caller may then
        try again.
        """


class Inspector(Protocol):
    """Reads the state of queues, and operates on them."""

    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """The depth of each queue; a queue that does not exist yet has depth 0."""

    def place(self, queue: str, job_id: str, due: datetime | None) -> Place:
        """Where the job waits, by a bounded search; ``due`` is when it may start, as far as that is known."""

    def delayed(self) -> int | None:
        """The number of delayed jobs of all queues together; None if ``depths`` gives it by queue."""

    def delayed_jobs(self) -> DelayedJobs | None:
        """Access to single delayed jobs; ``None`` without ``Capabilities.lists_delayed``."""

    def waiting_jobs(self) -> WaitingJobs | None:
        """Access to jobs that wait; ``None`` if a broker cannot remove one without the others."""

    def locks(self) -> Locks | None:
        """The locks of unique jobs; ``None`` without ``Capabilities.holds_locks``."""

    def orders(self) -> OrderBook | None:
        """The orders for all workers; ``None`` if the broker cannot hold them."""

    def purge(self, queue: str) -> int:
        """Delete the ready jobs of ``queue``, and its delayed jobs if the broker can find them; returns the number."""

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters to archive, oldest first; one without ``done()`` stays or comes back.

        It stops after the letter with which their bodies reach ``max_bytes``.
        """

    def epoch(self) -> str | None:
        """A value among the broker's data, another one if all data was lost; None if the broker cannot tell.

        Raises ``BrokerUnavailable``.
        """

    def now(self) -> datetime | None:
        """The time by the server's clock; None if the broker cannot tell. Raises ``BrokerUnavailable``."""

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """Check that the broker answers; raises ``BrokerUnavailable`` after ``timeout`` seconds."""

    def diagnose(self, *, longest_time_limit: float | None, queues: Iterable[str]) -> list[Finding]:
        """Check the broker's configuration; returns the findings, each with a remedy."""


class Broker(Publisher, Settler, Inspector, Protocol):
    """The complete interface of a broker."""

    @property
    def url(self) -> str:
        """The broker's URL without its password."""

    @property
    def capabilities(self) -> Capabilities:
        """The features of this broker."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The exceptions of client libraries that mean that the broker cannot be used now."""

    def celery_settings(self) -> dict[str, Any]:
        """The Celery settings (new-style lower-case names) that make Celery use this broker safely."""

    def queue(self, name: str) -> Any:
        """The ``kombu.Queue`` declaration of a job queue."""

    def close(self) -> None:
        """Close this thread's connections; the object can be used again."""


def require_shared(broker: Broker) -> None:
    """Raise ``ConfigurationError`` for a broker that other processes cannot reach."""
    if not broker.capabilities.shared:
        raise ConfigurationError("NIGHTSHIFT_BROKER_URL", broker.url, f"{UNSHARED}. {UNSHARED_REMEDY}")
