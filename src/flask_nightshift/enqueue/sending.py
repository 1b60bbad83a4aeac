"""Publishes finished jobs by the name of their queue, in bounded time, and tells of each that the broker confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from celery import Celery

from ..brokers.base import Broker
from ..brokers.failures import unavailable
from ..brokers.ticks import Ticks
from ..domain.events import JobEnqueued, JobEvent
from ..domain.job import JobRef, is_celery_internal
from ..domain.relations import Relations
from ..domain.tick import Claim, Tick, Verdict
from ..errors import BrokerUnavailable
from ..message.envelope import Envelope
from ..message.headers import HISTORY, TAGS, run, tags
from ..message.unique import UNIQUE, Holders
from ..options.publish import unencodable_header
from .composed import Composed
from .unique_jobs import UniqueJobs


class Sender:
    """Publishes the jobs of one Celery app; it calls ``emit`` for each job that the broker has confirmed."""

    def __init__(
        self, app: Celery, broker: Broker, unique: UniqueJobs, emit: Callable[[JobEvent], object]
    ) -> None:
        self._app = app
        self._broker = broker
        self._unique = unique
        self._emit = emit

    def send(self, jobs: Sequence[Composed], held: Holders, *, from_outbox: bool = False) -> None:
        """Publish ``jobs``, which have the same queue, time and priority.

        ``held`` gets the holders of the locks of unique jobs that were not enqueued.

        Raises ``BrokerUnavailable`` with the ids of those that are enqueued (``enqueued``), and ``InvalidOption`` for a
        header that no broker can encode.
        """
        done = 0
        try:
            self._declare(jobs[0].entities)
            envelopes = [job.envelope for job in jobs]
            for count in self._publish(envelopes, jobs[0].queue, jobs[0].due, held, from_outbox):
                done += count
        except BrokerUnavailable as exc:
            exc.enqueued = tuple(job.job_id for job in jobs[:done] if job.job_id not in held)
            raise
        except Exception as exc:
            self.explain(exc, jobs[0].envelope.headers)
            raise
        finally:
            for job in jobs[:done]:
                if job.job_id in held:
                    continue
                self._told(job)

    def send_tick(self, job: Composed, tick: Tick, ticks: Ticks) -> Claim:
        """Publish the job of ``tick``, if the tick is free; a duplicate of another job claims it, too.

        Raises what ``send`` raises; the call can be repeated.
        """
        held: Holders = {}
        try:
            self._declare(job.entities)
            claim = ticks.publish(job.envelope, job.queue, tick, due=job.due, held=held)
        except BrokerUnavailable:
            raise
        except Exception as exc:
            self.explain(exc, job.envelope.headers)
            raise
        holder = held.get(job.job_id)
        if holder is not None:
            self._unique.tell(job.envelope.headers, holder, known=True)
        elif claim.verdict is Verdict.CLAIMED:
            self._told(job)
        return claim

    def _told(self, job: Composed) -> None:
        if job.after is not None:
            job.after()
        self.tell(job.envelope.headers, job.queue, job.at, job.due, job.relations)

    def _publish(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        due: datetime | None,
        held: Holders,
        from_outbox: bool,
    ) -> Iterable[int]:
        """Publish; after each step, how many envelopes are confirmed in that step."""
        if from_outbox or UNIQUE in envelopes[0].headers[HISTORY]:  # all jobs of one call are unique, or none
            return self._unique.publish(envelopes, queue, due, held, from_outbox)
        if len(envelopes) > 1:
            return self._broker.publish_many(envelopes, queue, due=due)
        self._broker.publish(envelopes[0], queue, due=due)
        return (1,)

    def tell_skipped(self, job: Composed, holder: str) -> None:
        """Tell that a job which somebody waits for was not enqueued, because the job ``holder`` has its lock."""
        self._unique.tell(job.envelope.headers, holder, known=True)

    def explain(self, exc: Exception, headers: Mapping[str, Any]) -> None:
        """Translate ``exc``, raised by a wire: raise our error for it, or return if its cause is unknown.

        Raises ``InvalidOption`` for a header that no broker can encode, ``BrokerUnavailable`` for an error of the
        broker's.
        """
        if isinstance(exc, (TypeError, ValueError)):
            if (found := unencodable_header(headers)) is not None:
                raise found from exc
        elif isinstance(exc, self._broker.errors):
            raise unavailable(exc, self._broker.url) from exc

    def _declare(self, entities: Sequence[Any]) -> None:
        """Declare the entities that receivers of ``before_task_publish`` asked for."""
        if entities:
            with self._app.producer_or_acquire() as producer:
                for entity in entities:
                    producer.maybe_declare(entity)

    def tell(
        self,
        headers: Mapping[str, Any],
        queue: str,
        at: datetime,
        due: datetime | None,
        relations: Relations | None,
    ) -> None:
        """Tell that a job is enqueued, unless it is Celery's own."""
        if is_celery_internal(headers["task"]):
            return
        past = headers[HISTORY]
        attempt = int(headers.get("retries") or 0) + 1
        number = run(headers) if "run" in past else 0
        job = JobRef(headers["id"], headers["task"], queue, attempt, past.get("request_id"), at, number)
        if TAGS in past:
            job = job._replace(tags=tags(past))
        self._emit(JobEnqueued(job, at, *_shown(headers), due, relations))


def _shown(headers: Mapping[str, Any]) -> tuple[str, str]:
    """The short texts of a job's arguments; empty where a receiver of ``before_task_publish`` took them away."""
    return str(headers.get("argsrepr") or ""), str(headers.get("kwargsrepr") or "")


__all__ = ["Sender"]
