"""Publish the jobs of one committed transaction together, in at most 3 s, and never raise out of its ``commit()``.

What cannot be published in that time stays in the outbox, where a relay finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any, NamedTuple

from celery.exceptions import SoftTimeLimitExceeded

from ..brokers.base import PUBLISH_TIMEOUT
from ..brokers.failures import STEP, patience
from ..enqueue.composed import Composed
from ..enqueue.sending import Sender
from ..errors import BrokerUnavailable
from ..lifetime.forks import reset_if_forked
from ..message.headers import DURABLE, HISTORY
from ..message.unique import Holders
from ..store import Store
from ..text.counts import plural
from ..text.lines import LOGGER, Line
from .rows import FIRST, numbered
from .waiting import Held

MOST_NAMED = 20
"""Job ids in one line of the log."""
AT_ONCE = 500
"""The maximum number of jobs in one step."""
LAST_STEP = PUBLISH_TIMEOUT - STEP
"""Seconds after which no further step begins, because one may take ``STEP``."""

logger = logging.getLogger("flask_nightshift.outbox")
job_logger = logging.getLogger(LOGGER)


class Published(NamedTuple):
    """``duplicates``: the holders of the locks of jobs that are not enqueued because of that.

    ``left``: how many jobs wait for a relay.
    """

    duplicates: Holders
    left: int


class Publishing:
    """Publishes the jobs of one app.

    ``erase`` deletes the rows of those that the broker has; ``keep`` is told of those whose jobs are durable.
    """

    def __init__(
        self,
        sender: Callable[[], Sender],
        erase: Callable[[Store, Sequence[str]], object],
        keep: Callable[[Store, Sequence[str]], object],
    ) -> None:
        self._sender = sender
        self._erase = erase
        self._keep = keep

    def publish(self, store: Store | None, jobs: Sequence[Held], *, ids_are_known: bool = True) -> Published:
        """Publish ``jobs``, whose rows are committed in ``store``.

        ``ids_are_known``: somebody has the ids of the jobs, so duplicates are recorded; else their rows are deleted.
        Raises nothing but a task's soft time limit, which belongs to the body that commits.
        """
        reset_if_forked()
        done: set[str] = set()
        duplicates: Holders = {}
        why: object = f"not all were published in {LAST_STEP:g} s"
        until = monotonic() + LAST_STEP
        try:
            with patience():
                for step in _steps(jobs):
                    if done and monotonic() >= until and store is not None:
                        break
                    self._send(store, step, done, duplicates, ids_are_known)
        except SoftTimeLimitExceeded:
            raise
        except Exception as exc:
            why = exc
            if not isinstance(exc, BrokerUnavailable):
                logger.exception("outbox.publish_failed", extra={"job_ids": _ids(jobs)})
        left = [held for held in jobs if held.row_id not in done]
        self._left(store, left, why)
        return Published(duplicates, len(left))

    def _send(
        self,
        store: Store | None,
        step: Sequence[Held],
        done: set[str],
        duplicates: Holders,
        ids_are_known: bool,
    ) -> None:
        found: Holders = {}
        jobs = [self._told(store, held, done) for held in step]
        self._sender().send(jobs, found, from_outbox=True)
        for held in step if found else ():
            if (holder := found.get(held.job.job_id)) is None:
                continue
            if ids_are_known:
                self._done(store, held, done)
                self._sender().tell_skipped(held.job, holder)
            else:
                done.add(held.row_id)
                if store is not None:
                    self._erase(store, (held.row_id,))
        duplicates.update(found)

    def _done(self, store: Store | None, held: Held, done: set[str]) -> None:
        done.add(held.row_id)
        if store is not None:
            durable = DURABLE in held.job.envelope.headers[HISTORY]
            (self._keep if durable else self._erase)(store, (held.row_id,))

    def _told(self, store: Store | None, held: Held, done: set[str]) -> Composed:
        """The job to publish; when the broker has it, its row is deleted first, then others are told."""

        def confirmed() -> None:
            self._done(store, held, done)
            if held.job.after is not None:
                held.job.after()

        envelope = numbered(held.job.envelope, held.row_id, FIRST)
        return held.job._replace(envelope=envelope, after=confirmed)

    def _left(self, store: Store | None, jobs: Sequence[Held], why: object) -> None:
        if not jobs:
            return
        if store is None:
            text = "the database is in memory, so they are lost with this failure"
            self.tell_not_enqueued(jobs, text, error=str(why))
        else:
            extra = {"jobs": len(jobs), "job_ids": _ids(jobs), "error": str(why)}
            logger.warning("outbox.left_to_relay", extra=extra)

    def tell_not_enqueued(self, jobs: Sequence[Held], why: str, **fields: Any) -> None:
        """Log that jobs which waited for a transaction were not enqueued."""
        if jobs:
            text = f"{plural(len(jobs), 'job')} waited for a transaction: {why}"
            tasks = ",".join(sorted({str(held.job.envelope.headers["task"]) for held in jobs}))
            job_logger.warning(
                Line("job.not_enqueued", text, job_ids=",".join(_ids(jobs)), tasks=tasks, **fields)
            )


def _steps(jobs: Sequence[Held]) -> Iterator[list[Held]]:
    """The jobs that one step takes: of one queue, time and priority; in the order of their first."""
    groups: dict[Any, list[Held]] = {}
    for held in jobs:
        envelope = held.job.envelope
        groups.setdefault((held.job.queue, held.job.due, envelope.properties.get("priority")), []).append(
            held
        )
    for group in groups.values():
        for at in range(0, len(group), AT_ONCE):
            yield group[at : at + AT_ONCE]


def _ids(jobs: Sequence[Held]) -> list[str]:
    return [held.job.job_id for held in jobs[:MOST_NAMED]]


__all__ = ["Publishing"]
