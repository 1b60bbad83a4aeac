"""What Nightshift asks of a broker: small protocols, one for each use, and the values that they speak in.

A broker object is cheap, holds no connection until it is asked something, and is safe to use from several
threads. All its network calls are bounded in time and raise ``BrokerUnavailable`` when the broker is down,
refuses, or does not answer.
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
"""Bytes of dead letters that are taken at once, but for the last."""

UNSHARED = "no other process reaches memory://: web, workers and Beat would each have queues of their own"
UNSHARED_REMEDY = (
    "Use it in tests only; else let NIGHTSHIFT_BROKER_URL be embedded://, or the URL of a server."
)


@dataclass(frozen=True, slots=True)
class BrokerHealth:
    """A broker that answered: what it is and how fast. ``latency`` in seconds."""

    product: str
    version: str
    latency: float


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What stands in one queue now.

    ``ready`` can start at once, ``delayed`` waits for its time, ``leased`` is in workers' hands (running or
    prefetched). ``oldest`` is the age in seconds of the oldest ready job. ``None``: this broker cannot tell.
    """

    queue: str
    ready: int
    delayed: int | None = None
    leased: int | None = None
    oldest: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something ``flask jobs doctor`` has to say. ``level`` is ``ok``, ``warning`` or ``error``."""

    level: str
    check: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class DelayedJob:
    """A job that waits in ``queue`` until ``due`` (None: not told); ``envelope`` is its message."""

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
    """The delayed jobs of a broker that can show them one by one."""

    def soonest(self, queue: str, limit: int) -> list[DelayedJob]:
        """The next delayed jobs of ``queue``, the soonest first."""

    def like(self, queue: str, part: str, limit: int) -> list[str]:
        """Up to ``limit`` ids of delayed jobs of ``queue`` that begin or end with ``part``."""

    def take(self, queue: str, job_id: str) -> DelayedJob | None:
        """Take the job out of ``queue``: it will not run. None if it is not delayed there (any more)."""

    def run_now(self, queue: str, job_id: str) -> bool:
        """Have the job run next; False if it is not delayed in ``queue`` (any more)."""

    def hand_over(self, queue: str) -> int:
        """Leave all to workers that wait for the time in their own memories, without Nightshift; how many."""


class PendingDeadLetter(Protocol):
    """A dead letter taken out of the dead-letter queue on approval."""

    @property
    def letter(self) -> DeadLetter:
        """What was buried."""

    def done(self) -> None:
        """It is archived: remove it from the queue."""


class Publisher(Protocol):
    """Puts messages into queues."""

    @property
    def write_options(self) -> dict[str, Any]:
        """``broker_transport_options`` for connections that publish: no network step longer than ``STEP``.

        Consumers wait longer, because a slow answer is no reason to throw away what they have in hand.
        """

    @property
    def publish_options(self) -> dict[str, Any]:
        """Options of every ``apply_async``: on RabbitMQ ``mandatory``, and how long to wait for a confirm."""

    def send(self, producer: Any, queue: Any, publish: Callable[[], T]) -> T:
        """Have Celery publish to ``queue`` (a ``kombu.Queue``; None: to none that is known) by calling ``publish()``.

        Declares what is missing first, and once more if the broker turns out to have lost it. ``publish`` may
        so be called twice. Raises ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT``.
        """

    def publish(self, envelope: Envelope, queue: str, *, due: datetime | None = None) -> None:
        """Publish durably to ``queue``, at once or delayed in the broker until ``due``.

        Returns when the broker has confirmed it; raises ``BrokerUnavailable`` within ``PUBLISH_TIMEOUT``.
        """

    def publish_many(
        self, envelopes: Sequence[Envelope], queue: str, *, due: datetime | None = None
    ) -> Iterator[int]:
        """Publish all to ``queue``, in few steps; all have one priority.

        Gives after each step how many the broker has confirmed in it, in their order. Raises
        ``BrokerUnavailable``, within ``PUBLISH_TIMEOUT`` of the last step: those before it are enqueued.
        """

    def address(self, queue: Any) -> tuple[str, str]:
        """The exchange and routing key that a message to ``queue`` (a ``kombu.Queue``) is sent to, undelayed."""

    def delayed_address(self, queue: str, seconds: int) -> tuple[str, str]:
        """The exchange and routing key by which a message reaches ``queue`` after ``seconds`` (at least 1).

        Where delays are not whole seconds (``Capabilities.whole_seconds``) it is that of an undelayed message: the
        header ``eta`` delays it.
        """

    def reaches(self, queue: Any) -> bool:
        """Whether ``publish`` by name reaches ``queue`` (a ``kombu.Queue``): its declaration is nothing special."""


class Settler(Protocol):
    """Decides what becomes of the messages that a worker consumes."""

    def prepare(self, connection: Any, queues: Sequence[Any]) -> None:
        """Declare what a consumer of ``queues`` needs, each time that it connects; ``send`` does it by itself."""

    def worker_begins(self, connection: Any, slots: int) -> None:
        """A worker is about to consume over ``connection``, and runs up to ``slots`` jobs at the same time."""

    def worker_ends(self, channel: Any, *, crashed: bool) -> None:
        """A worker is about to end, and what it has of ``channel`` goes back.

        ``crashed``: one of those messages may have been the cause, so their deliveries count. Else the worker was
        told to stop, and they do not.
        """

    def begin(self, message: Any) -> bool:
        """Count the delivery of ``message`` as its job begins; False if it is no longer ours, and must not begin.

        True without more where the broker does not count starts (``Capabilities.counts_starts``). Raises one of
        ``errors``; then the job must not begin.
        """

    def holds(self, message: Any) -> bool:
        """Whether ``message`` is still ours; a broker that cannot tell gives it to nobody else while we live."""

    def replace(self, message: Any, envelope: Envelope, queue: str, *, due: datetime | None = None) -> bool:
        """Write a delivered message's next state, then acknowledge the message (invariant 1).

        ``message`` is the ``kombu.Message`` being settled. Atomic where the broker can; else written and
        confirmed first, so that a crash in between makes a duplicate and never a loss. Returns False when
        the message is no longer ours (its lease was taken): then nothing was written. Raises
        ``BrokerUnavailable`` with the message still unacknowledged.
        """

    def aside(self, queue: Any) -> Any:
        """The ``kombu.Queue`` in which jobs of ``queue`` (another) wait to be run alone, as they may end their worker.

        None: there is none for it, and no need of one where the broker knows which deliveries began.
        """

    def give_back(self, message: Any) -> None:
        """Return a delivered message to its queue as it is, counted as a delivery where the broker counts.

        Nothing is done if it is no longer ours. Raises ``BrokerUnavailable``; the call can then be repeated.
        """


class Inspector(Protocol):
    """Looks at queues from outside, and operates on them."""

    def depths(self, queues: Iterable[str]) -> list[QueueDepth]:
        """The depth of each queue; a queue that does not exist yet has depth 0."""

    def delayed(self) -> int | None:
        """How many jobs wait for their time, over all queues, where only that can be told; else ``None``."""

    def delayed_jobs(self) -> DelayedJobs | None:
        """A hold on single delayed jobs; ``None`` without ``Capabilities.lists_delayed``."""

    def peek(self, queue: str, limit: int = 20) -> list[dict[str, Any]]:
        """The next ready jobs, untouched: ``{"id", "task", "headers", "enqueued_at"}``, next first.

        Empty without ``Capabilities.shows_ready``.
        """

    def purge(self, queue: str) -> int:
        """Delete the ready and delayed jobs of ``queue``, as far as it can tell them; how many they were."""

    def take_dead_letters(self, limit: int = 100, max_bytes: int = MAX_TAKEN) -> list[PendingDeadLetter]:
        """Up to ``limit`` dead letters to archive, oldest first; one that is not ``done()`` stays or comes back.

        No further one is taken once those taken have ``max_bytes`` or more.
        """

    def health(self, timeout: float = 2.0) -> BrokerHealth:
        """Ask the broker for a sign of life; raises ``BrokerUnavailable`` after ``timeout`` seconds."""

    def diagnose(self, *, longest_time_limit: float | None, queues: Iterable[str]) -> list[Finding]:
        """What is set up wrongly on the broker's side, each with how to mend it."""


class Broker(Publisher, Settler, Inspector, Protocol):
    """One broker, as the rest of Nightshift sees it."""

    @property
    def url(self) -> str:
        """The broker's URL without its password, for people."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The client library's exceptions that mean the broker cannot be used now."""

    def celery_settings(self) -> dict[str, Any]:
        """The Celery settings (new-style lower-case names) that make Celery use this broker safely."""

    def queue(self, name: str) -> Any:
        """The ``kombu.Queue`` declaration of a job queue."""

    def close(self) -> None:
        """Close this thread's connections; the object can be used again."""


def need_shared(broker: Broker) -> None:
    """Raise ``ConfigurationError`` where a process of its own would have nothing to do with the others' jobs."""
    if not broker.capabilities.shared:
        raise ConfigurationError("NIGHTSHIFT_BROKER_URL", broker.url, f"{UNSHARED}. {UNSHARED_REMEDY}")
