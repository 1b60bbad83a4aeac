"""Which jobs wait: in the broker, for a commit, and those that a rollback has lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..brokers.memory.server import MemoryServer
from ..brokers.memory.stored import Stored
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
        self._judged: dict[int, bool] = {}
        """Whether a message is one of a job that waits, by its number."""

    def waiting(self) -> list[EnqueuedJob]:
        """The jobs in the broker: those that may run in the order in which they do, then delayed ones by time."""
        self.settle()
        return [self.reader.of_message(each, due) for due, each in self.server.waiting() if self._waits(each)]

    def first(self) -> Next | None:
        """The job that runs next: of the highest priority, the one that was ready first, in whatever queue."""
        self.settle()
        paused = self.server.ordered(lambda orders: set(orders.pauses), changes=False)
        stored = self.server.first(lambda each: each.queue not in paused and self._waits(each))
        return None if stored is None else Next(self.reader.of_message(stored, None), stored)

    def next_due(self) -> float | None:
        """When the next delayed job is due, in seconds since 1970."""
        return self.server.next_due(self._waits)

    def since(self, number: int) -> set[str]:
        """The ids of the waiting jobs whose messages are newer than the message ``number``."""
        self.settle()
        new = (each for each in self.server.since(number) if self._waits(each))
        return {self.reader.of_message(each, None).id for each in new}

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

    def _waits(self, stored: Stored) -> bool:
        found = self._judged.get(stored.number)
        if found is None:
            found = self._judged[stored.number] = stored.queue != DEAD_QUEUE and is_job(stored)
        return found


__all__ = ["Next", "Sight"]
