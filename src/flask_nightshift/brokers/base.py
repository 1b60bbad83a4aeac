"""The interface of a broker: one small protocol for each use, and the values that they exchange.

A broker object is cheap, opens no connection before its first network call, and is safe to use from several threads.
All its network calls have a time limit, and raise ``BrokerUnavailable`` when the broker is down, refuses, or does not
answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from ..domain.job import DeadLetter
from ..errors import ConfigurationError
from ..message.envelope import Envelope
from .capabilities import Capabilities

T = TypeVar("T")

PUBLISH_TIMEOUT = 3.0
"""Seconds within which a publish succeeds or raises ``BrokerUnavailable`` (invariant 8)."""

MAX_TAKEN = 4_000_000
"""Bytes of dead letters after which ``take_dead_letters`` takes no further one."""

UNSHARED = "no other process reaches memory://: web, workers and Beat would each have queues of their own"
UNSHARED_REMEDY = (
    "Use it in tests only; else let NIGHTSHIFT_BROKER_URL be embedded://, or the URL of a server."
)


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """A broker that answered: its product, its version, and the latency of its answer in seconds."""

    product: str
    version: str
    latency: float


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The number of jobs in one queue now.

    ``ready`` jobs can start at once, ``delayed`` ones wait until they are due, workers hold the ``leased`` ones
    (running or prefetched). ``oldest`` is the age in seconds of the oldest ready job. ``None``: the broker cannot tell.
    """

    queue: str
    ready: int
    delayed: int | None = None
    leased: int | None = None
    oldest: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of ``flask jobs doctor``. ``level`` is ``ok``, ``info``, ``warning`` or ``error``."""

    level: str
    check: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DelayedJob:
    """A job that waits in ``queue`` until ``due`` (None: unknown); ``envelope`` is its message."""

    job_id: str
    task: str
    queue: str
    due: datetime | None
    envelope: Envelope

    def as_dict(self) -> dict[str, Any]:
        """``{"job_id", "task", "queue", "due"}`` in plain JSON types."""
        due = self.due.isoformat() if self.due else None
        return {"job_id": self.job_id, "task": self.task, "queue": self.queue, "due": due}


class DelayedJobs(Protocol):
    """Access to the delayed jobs of a broker, one by one; all methods raise ``BrokerUnavailable``."""

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """Up to ``limit`` delayed jobs of ``queue``, those due soonest first."""

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs of ``queue`` that begin or end with ``part``."""

    def take(self, queue: str, job_id: str) -> DelayedJob | None:
        """Remove the job, so it will not run; returns it, or None if it is not delayed in ``queue`` (any more)."""

    def run_now(self, queue: str, job_id: str) -> bool:
        """Move the job to the head of ``queue``; False if it is not delayed there (any more)."""

    def hand_over(self, queue: str) -> int:
        """Give all delayed jobs of ``queue`` to stock Celery workers, which hold them in memory; returns the number."""


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

    def publish(self, envelope: Envelope, queue: str, *, due: datetime | None = None) -> None:
        """Publish durably to ``queue``, at once or delayed in the broker until ``due``.

        Returns when the broker has confirmed it; raises ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT``.
        """

    def publish_many(
        self, envelopes: Sequence[Envelope], queue: str, *, due: datetime | None = None
    ) -> Iterator[int]:
        """Publish all ``envelopes``, which have the same priority, to ``queue`` in a few steps.

        After each step it yields how many envelopes the broker has confirmed in that step, in their order. Raises
        ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT`` of the last step; the confirmed ones are enqueued.
        """

    def address(self, queue: Any) -> tuple[str, str]:
        """The exchange and routing key of an undelayed message to ``queue`` (a ``kombu.Queue``)."""

    def delayed_address(self, queue: str, seconds: int) -> tuple[str, str]:
        """The exchange and routing key by which a message reaches ``queue`` after ``seconds`` (at least 1).

        Without ``Capabilities.whole_seconds`` it is the address of an undelayed message, and the header ``eta`` delays
        it.
        """

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

    def delayed(self) -> int | None:
        """The number of delayed jobs of all queues together; None if ``depths`` gives it by queue."""

    def delayed_jobs(self) -> DelayedJobs | None:
        """Access to single delayed jobs; ``None`` without ``Capabilities.lists_delayed``."""

    def purge(self, queue: str) -> int:
        """Delete the ready jobs of ``queue``, and its delayed jobs if the broker can find them; returns the number."""

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters to archive, oldest first; one without ``done()`` stays or comes back.

        It stops after the letter with which their bodies reach ``max_bytes``.
        """

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
