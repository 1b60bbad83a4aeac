"""Publishes unique jobs: each claims its lock, and a duplicate becomes the job that holds it.

Where the broker holds the locks, its publish claims them. Elsewhere they are claimed first, and released if the publish
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ..brokers.base import Broker
from ..brokers.locks import Locks
from ..domain.events import JobEvent, JobSkipped
from ..domain.job import utcnow
from ..message.envelope import Envelope
from ..message.headers import HISTORY, ref
from ..message.unique import REPLACE, UNIQUE, Held, Holders, Lock, lock_of, marked
from ..options.publish import InvalidOption
from ..unique import DUPLICATE, passing, publish
from .call import Call
from .items import Arguments


class UniqueJobs:
    """The unique jobs of one publisher; calls that are not unique pass through."""

    def __init__(self, broker: Broker, locks: Locks, emit: Callable[[JobEvent], object]) -> None:
        self._broker = broker
        self._locks = locks
        self._emit = emit

    # before the publish
    def lock(self, call: Call, headers: dict[str, Any], args: Any, kwargs: Any) -> None:
        """Write the job's lock into its ``headers``; raises ``UniqueKeyError``."""
        if call.unique is not None:
            lock = call.unique.lock(headers["id"], args, kwargs)
            headers[HISTORY] = {**headers[HISTORY], UNIQUE: lock.header()}
            passing.note(lock)

    def lock_each(self, call: Call, jobs: Sequence[dict[str, Any]], items: Sequence[Arguments]) -> None:
        """The same for each of the ``jobs``, which are headers."""
        if call.unique is not None:
            for headers, (args, kwargs) in zip(jobs, items, strict=True):
                self.lock(call, headers, args, kwargs)

    # the publish
    def publish(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        due: datetime | None,
        held: Holders,
        from_outbox: bool = False,
    ) -> Iterator[int]:
        """Publish to a queue, given by name, at once or delayed until ``due``.

        After each step it yields how many envelopes are confirmed in that step, in their order. Those in ``held``,
        which it fills, are not enqueued.
        """
        return publish(self._broker, self._locks, envelopes, queue, due, held, from_outbox=from_outbox)

    @contextmanager
    def around(
        self, headers: Mapping[str, Any], due: datetime | None
    ) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
        """Around a publish by Celery's producer; gives what the headers become. Raises ``Held`` for a duplicate."""
        lock = lock_of(headers)
        if lock is None:
            yield lambda given: given
        elif self._broker.capabilities.holds_locks:
            yield marked
        else:
            yield from self._around(lock, dict(headers), due)

    def _around(
        self, lock: Lock, headers: dict[str, Any], due: datetime | None
    ) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
        """The same where the database holds the locks; a crash in between leaves the lock until its time is over."""
        if lock.on_duplicate == REPLACE:
            why = f"with the options of this call, a job cannot replace another one on {self._broker.url}"
            raise InvalidOption("on_duplicate", REPLACE, why)
        held: Holders = {}
        jobs = self._locks.claim([Envelope(b"", headers)], "", due, held, from_outbox=True)
        if held:
            raise Held(held[lock.job_id])
        try:
            yield lambda given: given
        except BaseException as exc:
            self._locks.postponed(jobs, exc)
            raise

    # duplicates
    def skipped(self, call: Call, headers: Mapping[str, Any], holder: str, *, known: bool) -> str:
        """A job was not enqueued: returns the id of the ``holder`` of its lock, or raises ``DuplicateJob``.

        ``known``: somebody knows the job's own id.
        """
        self.tell(headers, holder, known=known)
        self._refuse(call, headers, holder, ())
        return holder

    def skipped_among(self, call: Call, jobs: Sequence[Mapping[str, Any]], held: Holders) -> list[str]:
        """Some of the ``jobs``, which are headers, were not enqueued: returns the ids, with those of the holders.

        Raises ``DuplicateJob``, if one of them must not be a duplicate.
        """
        enqueued = tuple(headers["id"] for headers in jobs if headers["id"] not in held)
        duplicates = [headers for headers in jobs if headers["id"] in held]
        for headers in duplicates:
            self.tell(headers, held[headers["id"]], known=False)
        for headers in duplicates:
            self._refuse(call, headers, held[headers["id"]], enqueued)
        return [held.get(headers["id"], headers["id"]) for headers in jobs]

    def tell(self, headers: Mapping[str, Any], holder: str, *, known: bool) -> None:
        """Tell that a job was skipped; ``known``: somebody knows its id."""
        job = ref(headers, headers[HISTORY]["queue"])
        awaited = known and not headers.get("ignore_result")
        self._emit(JobSkipped(job, utcnow(), holder, DUPLICATE, recorded=known, awaited=awaited))

    def _refuse(self, call: Call, headers: Mapping[str, Any], holder: str, enqueued: tuple[str, ...]) -> None:
        lock = lock_of(headers)
        if call.unique is not None and lock is not None:
            refusal = call.unique.refusal(lock, holder, enqueued)
            if refusal is not None:
                raise refusal


__all__ = ["UniqueJobs"]
