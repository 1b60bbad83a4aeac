"""Which jobs wait: in the broker, for a commit, and those that a rollback has lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..brokers.memory.server import MemoryServer, Stored
from ..message.burial import DEAD_QUEUE
from ..outbox.waiting import Held
from ..services import Services
from .jobs import EnqueuedJob, Reader, is_job
from .outbox import StillOutbox
from .worker import broker_of


class Next(NamedTuple):
    """The job that runs next, and its message."""

    job: EnqueuedJob
    stored: Stored


class Sight:
    """What a test sees of the jobs of ``services``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.server: MemoryServer = broker_of(services).server
        self.reader = Reader(services.celery)
        self.lost: list[tuple[EnqueuedJob, str]] = []
        """Jobs that were not enqueued because of their transaction, and why."""
        self.expected: set[str] = set()
        """The ids of jobs of which the test expects that."""

    def waiting(self) -> list[EnqueuedJob]:
        """The jobs in the broker: those that may run in the order in which they do, then delayed ones by time."""
        ready = [self.reader.of_message(each, None) for each in self._ready()]
        return ready + [self.reader.of_message(each, due) for due, each in self._delayed()]

    def first(self) -> Next | None:
        """The job that runs next: of the highest priority, the one that was enqueued first, in whatever queue."""
        paused = self.server.ordered(lambda orders: set(orders.pauses), changes=False)
        stored = next((each for each in self._ready() if each.queue not in paused), None)
        return None if stored is None else Next(self.reader.of_message(stored, None), stored)

    def next_due(self) -> float | None:
        """When the next delayed job is due, in seconds since 1970."""
        return min((due for due, _ in self._delayed()), default=None)

    def held(self) -> list[EnqueuedJob]:
        """The jobs that wait for a commit."""
        self.settle()
        return [self._of_held(held) for held in self._outbox.waiting()]

    def never_committed(self) -> list[EnqueuedJob]:
        """The jobs whose transaction is open still, without those that the test expects."""
        return [job for job in self.held() if job.id not in self.expected]

    def note_lost(self, jobs: Sequence[Held], why: str) -> None:
        """Note jobs that are not enqueued."""
        noted = [(self._of_held(held), why) for held in jobs]
        self.lost += [(job, why) for job, why in noted if job.id not in self.expected]

    def settle(self) -> None:
        """Publish what has committed."""
        self._outbox.settle()

    @property
    def _outbox(self) -> StillOutbox:
        outbox = self._services.outbox
        assert isinstance(outbox, StillOutbox)  # noqa: S101 - ``lent`` made it
        return outbox

    def _of_held(self, held: Held) -> EnqueuedJob:
        return self.reader.of_envelope(held.job.envelope, held.job.queue, held.job.due)

    def _queues(self) -> list[str]:
        return [name for name in self.server.names() if name != DEAD_QUEUE]

    def _ready(self) -> list[Stored]:
        self.settle()
        lines = [self.server.ready(name) for name in self._queues()]
        return sorted(
            (each for line in lines for each in line if is_job(each)), key=lambda each: each.priority
        )

    def _delayed(self) -> list[tuple[float, Stored]]:
        lines = [self.server.delayed(name) for name in self._queues()]
        found = (each for line in lines for each in line if is_job(each[1]))
        return sorted(found, key=lambda each: (each[0], each[1].number))


__all__ = ["Next", "Sight"]
