"""The one place that settles a delivered message: done, retried, buried, or given back.

Invariant 1: the message is acknowledged only after its next state is durable in the broker. When that cannot
be written, the step is kept and tried again for as long as the connection that delivered the message lives;
when the connection is lost the broker gives the message out again by itself, and the step is dropped. A job
that was acknowledged as it began (``acks_late=False``) has no message that could come back: its next state is
published, and that step is never dropped. A next state that no broker would take as it is (an option that
cannot be encoded) makes a dead letter of the job (invariant 4).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from ..domain.events import JobDied, JobReturned
from ..domain.job import MAX_TEXT, Attempt, Failure, JobRef, Reason, cut, utcnow
from ..errors import BrokerUnavailable
from ..message import burial
from ..message import headers as message_headers
from ..message.envelope import Envelope
from ..services import Services
from .fence import StartFence

logger = logging.getLogger("flask_nightshift.worker.settle")

TRY_AGAIN_AFTER = 2.0
"""Seconds between attempts to write a next state while the broker is away."""
FIRST_POSTPONEMENT = 2.0
LAST_POSTPONEMENT = 60.0
"""Seconds that a message which no worker can run is put off: doubled from the first to the last."""
FIRST_PAUSE = 1.0
LAST_PAUSE = 30.0
"""Seconds that a job waits that asked to be returned: doubled from the first to the last."""
LOST = "it was acknowledged early, and its next state could not be written before the worker ended"


@dataclass(frozen=True, slots=True)
class Step:
    """A next state to be written in place of ``message``; ``then`` is called when it is durable.

    ``otherwise`` is called when it never will be, because of what is in it; by default the message is buried as it is.
    ``message`` is None if it was acknowledged before the attempt: there is nothing left to replace. ``envelope`` is
    None if it goes back to its queue as it is.
    """

    message: Any
    envelope: Envelope | None
    queue: str
    due: datetime | None
    job: JobRef
    then: Callable[[], None]
    otherwise: Callable[[Failure], None] | None = None


class Settlement:
    """Settles the messages of one consumer; ``later(seconds, call)`` schedules on its loop."""

    def __init__(
        self, services: Services, worker: str, later: Callable[[float, Callable[[], None]], Any]
    ) -> None:
        self.services = services
        self.worker = worker
        self.later = later
        self._waiting: deque[Step] = deque()
        self._away_until = 0.0
        self._scheduled = False
        self.fence = StartFence()
        """Whether what the present connection has brought may begin."""
        self.start: Callable[[Any], None] = lambda _: None
        """Celery's way of handing a request to the pool, when there is room for it."""
        self._lock = threading.Lock()

    def write(self, step: Step) -> None:
        """Write the next state and acknowledge; if the broker is away, keep the step and try again.

        Raises nothing but what interrupts it (a greenlet that is killed); the step is kept then, too.
        """
        try:
            written = monotonic() >= self._away_until and self._try(step)
        except BaseException:
            self._keep(step)
            raise
        if not written:
            self._keep(step)

    def resume(self) -> None:
        """There is a connection again: try what outlived the one before."""
        if self._waiting:
            self._schedule()

    def finish(self) -> None:
        """The worker ends: the last try of what cannot come back by itself."""
        with self._lock:
            steps, self._waiting = list(self._waiting), deque()
        away = False
        for step in (step for step in steps if step.message is None):
            away = away or not self._try(step)
            if away:
                logger.error(
                    "job.lost", extra={"job_id": step.job.job_id, "task": step.job.task, "why": LOST}
                )

    def bury(self, message: Any, queue: str, **options: Any) -> None:
        """Make a dead letter of ``message``; ``options`` are those of ``burial``."""
        self.write(self.burial(message, queue, **options))

    def burial(
        self,
        message: Any,
        queue: str,
        *,
        reason: Reason,
        failure: Failure,
        ended: Attempt | None = None,
        runtime: float | None = None,
        released: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> Step:
        """The step that makes a dead letter of ``message``; ``ended`` is the attempt that killed it, if it ran.

        ``released``: it was acknowledged before the attempt. ``then`` is called when it is buried.
        """
        at = utcnow()
        headers = burial.buried(
            message.headers,
            reason=reason,
            failure=failure,
            queue=queue,
            worker=self.worker,
            at=at,
            ended=ended,
        )
        job = message_headers.ref(message.headers or {}, queue)

        def buried() -> None:
            self.services.events.emit(JobDied(job, at, self.worker, runtime, failure, reason))
            then()

        letter = envelope_of(message, headers)
        return Step(None if released else message, letter, burial.DEAD_QUEUE, None, job, buried)

    def give_back(self, message: Any, job: JobRef, then: Callable[[], None]) -> None:
        """Return ``message`` to the head of its queue, counted as a delivery."""
        self.write(Step(message, None, job.queue, None, job, then))

    def postpone(
        self, message: Any, queue: str, failure: Failure, then: Callable[[], None] = lambda: None
    ) -> None:
        """Put off a message that this worker cannot run; bury it, and call ``then``, when that goes on for too long."""
        now = utcnow()
        since = message_headers.lost_since(message.headers) or now
        elapsed = (now - since).total_seconds()
        limit = self.services.settings.unknown_task_wait
        if elapsed >= limit:
            self.bury(message, queue, reason=Reason.UNKNOWN_TASK, failure=failure, then=then)
            return
        wait = min(max(FIRST_POSTPONEMENT, elapsed), LAST_POSTPONEMENT, max(limit - elapsed, 1.0))
        due = now + timedelta(seconds=wait)
        headers = message_headers.postponed(message.headers, since=since, due=due)
        job = message_headers.ref(message.headers, queue)

        def postponed() -> None:
            logger.warning(
                "job.postponed",
                extra={"job_id": job.job_id, "task": job.task, "queue": queue, "wait": round(wait, 1),
                       "why": str(failure), "gives_up_in": round(limit - elapsed, 1)},
            )  # fmt: skip

        step = Step(message, envelope_of(message, headers), queue, due, job, postponed)
        if self.services.broker.capabilities.keeps_delays:
            self.write(step)
        else:  # kombu's stock Redis transport: nothing there would hold it back
            self.later(wait, lambda: self.write(step))

    def defer(self, message: Any, queue: str, due: datetime) -> None:
        """Give a message back to the broker until ``due``: a delay never waits in a worker's memory."""
        headers = message_headers.job_headers(message.headers)
        job = message_headers.ref(headers, queue)
        self.write(Step(message, envelope_of(message, headers), queue, due, job, lambda: None))

    def drop(self) -> None:
        """The connection is lost: its messages come back by themselves."""
        with self._lock:
            steps, self._waiting = list(self._waiting), deque(s for s in self._waiting if s.message is None)
            self._scheduled = False  # Celery may have cancelled the timer with the connection
        for step in steps:
            if step.message is not None:
                self._lost(step)

    def _lost(self, step: Step) -> None:
        """The broker gives its message out again by itself."""
        event = JobReturned(step.job, utcnow(), self.worker, "its next state could not be written")
        self.services.events.emit(event)

    def _try(self, step: Step) -> bool:
        broker, written = self.services.broker, True
        try:
            if step.envelope is None:
                broker.give_back(step.message)
            elif step.message is None:
                broker.publish(step.envelope, step.queue, due=step.due)
            else:
                written = broker.replace(step.message, step.envelope, step.queue, due=step.due)
        except BrokerUnavailable as exc:
            if step.envelope is None and step.message.channel.connection is None:
                self._lost(step)
                return True
            self._away_until = monotonic() + TRY_AGAIN_AFTER
            logger.warning(
                "job.unsettled",
                extra={"job_id": step.job.job_id, "task": step.job.task, "why": str(exc),
                       "next_try_in": TRY_AGAIN_AFTER},
            )  # fmt: skip
            return False
        except Exception as exc:  # what is to be written is wrong, not the broker
            logger.exception("job.unwritable", extra={"job_id": step.job.job_id, "task": step.job.task})
            self._refuse(step, exc)
            return True
        if written:
            self._tell(step, step.then)
        return True

    def _refuse(self, step: Step, exc: Exception) -> None:
        """Bury a job whose next state cannot be written; if that cannot be either, the delivery limit decides."""
        if step.envelope is None:
            return  # it comes back with the connection
        failure = Failure(Failure.of(exc).error, cut(f"its next state cannot be written: {exc}", MAX_TEXT))
        if step.queue != burial.DEAD_QUEUE:
            self._tell(step, lambda: self._bury_instead(step, failure))
        elif step.message is not None:
            self.give_back(step.message, step.job, lambda: None)

    def _bury_instead(self, step: Step, failure: Failure) -> None:
        if step.otherwise is not None:
            step.otherwise(failure)
        else:
            self.bury(step.message, step.job.queue, reason=Reason.PERMANENT, failure=failure)

    def _tell(self, step: Step, call: Callable[[], None]) -> None:
        """``call()``; an error of its own is not one of the other jobs'."""
        try:
            call()
        except Exception:
            logger.exception("job.settled_with_errors", extra={"job_id": step.job.job_id})

    def _keep(self, step: Step) -> None:
        with self._lock:
            self._waiting.append(step)
        self._schedule()

    def _schedule(self) -> None:
        with self._lock:
            if self._scheduled:
                return
            self._scheduled = True
        try:
            self.later(TRY_AGAIN_AFTER, self._try_waiting)
        except Exception:  # the next step that is kept asks again
            logger.exception("the next try of what could not be settled cannot be scheduled")
            self._scheduled = False

    def _try_waiting(self) -> None:
        with self._lock:
            self._scheduled = False
            steps, self._waiting = list(self._waiting), deque()
        for step in steps:
            self.write(step)


def pause(returns: int) -> float:
    """Seconds that a job waits which asked to be returned, and did so ``returns`` times before."""
    return float(min(FIRST_PAUSE * 2.0 ** min(returns, 16), LAST_PAUSE))


def envelope_of(
    message: Any, headers: dict[str, Any], body: tuple[str, str, bytes] | None = None, **properties: Any
) -> Envelope:
    """The message to publish in place of a delivered one: its raw body, unless another is given."""
    kept = {**message_headers.job_properties(message.properties or {}), **properties}
    if body is None:
        raw = message.body or b""
        if isinstance(raw, str):
            raw = raw.encode("utf-8", "surrogatepass")
        kind, encoding = message.content_type or "application/data", message.content_encoding or "binary"
        body = (str(kind), str(encoding), bytes(raw))
    content_type, content_encoding, raw = body
    return Envelope(raw, headers, kept, content_type, content_encoding)
