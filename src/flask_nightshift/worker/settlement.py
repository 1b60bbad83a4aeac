"""The one place that settles a delivered message: done, retried, buried, or given back.

Invariant 1: the message is acknowledged only after its next state is durable in the broker. If the broker cannot take
that state, the worker keeps the transition and tries again as long as the connection that delivered the message lives.
When the connection is lost, the broker delivers the message again, and the worker drops the transition. A job that was
acknowledged as it began (``acks_late=False``) has no message that could return: the worker publishes its next state and
never drops that transition. If no broker would take a next state because of its content (an option that cannot be
encoded), the job becomes a dead letter (invariant 4).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from ..domain.events import JobDied, JobReturned
from ..domain.job import MAX_TEXT, Attempt, Failure, JobRef, Reason, cut, utcnow
from ..errors import BrokerUnavailable
from ..message import burial
from ..message import headers as message_headers
from ..message.envelope import envelope_of
from ..message.unique import lock_of
from ..services import Services
from .fence import StartFence
from .locking import Locking
from .transition import Transition

logger = logging.getLogger("flask_nightshift.worker.settle")

TRY_AGAIN_AFTER = 2.0
"""Seconds between two tries to write a next state while the broker is away."""
FIRST_POSTPONEMENT = 2.0
LAST_POSTPONEMENT = 60.0
"""Seconds by which a message that no worker can run is postponed: doubled from the first to the last."""
LOST = "it was acknowledged early, and its next state could not be written before the worker ended"


class Settlement:
    """Settles the messages of one consumer; ``later(seconds, call)`` schedules on its loop."""

    def __init__(
        self, services: Services, worker: str, later: Callable[[float, Callable[[], None]], Any]
    ) -> None:
        self.services = services
        self.worker = worker
        self.later = later
        self.locks = Locking(services.locks)
        self._waiting: deque[Transition] = deque()
        self._away_until = 0.0
        self._scheduled = False
        self.fence = StartFence()
        """Decides whether jobs from the current connection may begin."""
        self.start: Callable[[Any], None] = lambda _: None
        """Celery's function that hands a request to the pool when a place is free."""
        self._lock = threading.Lock()

    def write(self, transition: Transition) -> None:
        """Write the next state and acknowledge; if the broker is away, keep the transition and try again.

        It raises only interruptions (a killed greenlet), and then keeps the transition too.
        """
        try:
            written = monotonic() >= self._away_until and self._try(transition)
        except BaseException:
            self._keep(transition)
            raise
        if not written:
            self._keep(transition)

    def resume(self) -> None:
        """The worker has a new connection: try the transitions that outlived the old one."""
        if self._waiting:
            self._schedule()

    def finish(self) -> None:
        """The worker ends: try the transitions without a message once more, because no broker delivers those again."""
        with self._lock:
            transitions, self._waiting = list(self._waiting), deque()
        away = False
        for transition in (transition for transition in transitions if transition.message is None):
            away = away or not self._try(transition)
            if away:
                logger.error(
                    "job.lost",
                    extra={"job_id": transition.job.job_id, "task": transition.job.task, "why": LOST},
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
        on_written: Callable[[], None] = lambda: None,
    ) -> Transition:
        """The transition that makes a dead letter of ``message``; ``ended`` is its last attempt, if it ran.

        ``released``: the message was acknowledged before the attempt. ``on_written()`` is called after the burial.
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

        lock = lock_of(message.headers)

        def buried() -> None:
            if lock is not None:
                self.locks.release(lock, lambda: None)
            self.services.events.emit(JobDied(job, at, self.worker, runtime, failure, reason))
            on_written()

        letter = envelope_of(message, headers)
        return Transition(None if released else message, letter, burial.DEAD_QUEUE, None, job, buried)

    def give_back(self, message: Any, job: JobRef, on_written: Callable[[], None]) -> None:
        """Return ``message`` to the head of its queue, counted as a delivery."""
        self.write(Transition(message, None, job.queue, None, job, on_written))

    def postpone(
        self, message: Any, queue: str, failure: Failure, on_written: Callable[[], None] = lambda: None
    ) -> None:
        """Postpone a message that this worker cannot run; after too long, bury it and call ``on_written``."""
        now = utcnow()
        since = message_headers.lost_since(message.headers) or now
        elapsed = (now - since).total_seconds()
        limit = self.services.settings.unknown_task_wait
        if elapsed >= limit:
            self.bury(message, queue, reason=Reason.UNKNOWN_TASK, failure=failure, on_written=on_written)
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

        transition = Transition(message, envelope_of(message, headers), queue, due, job, postponed)
        if self.services.broker.capabilities.keeps_delays:
            self.write(transition)
        else:  # kombu's stock Redis transport cannot delay a message
            self.later(wait, lambda: self.write(transition))

    def defer(self, message: Any, queue: str, due: datetime) -> None:
        """Give a message back to the broker until ``due``: a delay never waits in a worker's memory."""
        headers = message_headers.job_headers(message.headers)
        job = message_headers.ref(headers, queue)
        self.write(Transition(message, envelope_of(message, headers), queue, due, job, lambda: None))

    def drop(self) -> None:
        """The connection is lost: drop its transitions, because the broker delivers the messages again."""
        with self._lock:
            transitions, self._waiting = (
                list(self._waiting),
                deque(s for s in self._waiting if s.message is None),
            )
            self._scheduled = False  # Celery may have cancelled the timer with the connection
        for transition in transitions:
            if transition.message is not None:
                self._lost(transition)

    def _lost(self, transition: Transition) -> None:
        """Report that the broker will deliver the message again."""
        event = JobReturned(transition.job, utcnow(), self.worker, "its next state could not be written")
        self.services.events.emit(event)

    def _try(self, transition: Transition) -> bool:
        broker, written = self.services.broker, True
        try:
            if transition.envelope is None:
                broker.give_back(transition.message)
            elif transition.message is None:
                broker.publish(transition.envelope, transition.queue, due=transition.due)
            else:
                written = broker.replace(
                    transition.message, transition.envelope, transition.queue, due=transition.due
                )
        except BrokerUnavailable as exc:
            if transition.envelope is None and transition.message.channel.connection is None:
                self._lost(transition)
                return True
            self._away_until = monotonic() + TRY_AGAIN_AFTER
            logger.warning(
                "job.unsettled",
                extra={"job_id": transition.job.job_id, "task": transition.job.task, "why": str(exc),
                       "next_try_in": TRY_AGAIN_AFTER},
            )  # fmt: skip
            return False
        except Exception as exc:  # the content is wrong, not the broker
            logger.exception(
                "job.unwritable", extra={"job_id": transition.job.job_id, "task": transition.job.task}
            )
            self._refuse(transition, exc)
            return True
        if written:
            self._tell(transition, transition.on_written)
        return True

    def _refuse(self, transition: Transition, exc: Exception) -> None:
        """Bury a job whose next state is refused; if the dead letter is refused too, the delivery limit decides."""
        if transition.envelope is None:
            return  # it comes back with the connection
        failure = Failure(Failure.of(exc).error, cut(f"its next state cannot be written: {exc}", MAX_TEXT))
        if transition.queue != burial.DEAD_QUEUE:
            self._tell(transition, lambda: self._bury_instead(transition, failure))
        elif transition.message is not None:
            self.give_back(transition.message, transition.job, lambda: None)

    def _bury_instead(self, transition: Transition, failure: Failure) -> None:
        if transition.on_refused is not None:
            transition.on_refused(failure)
        else:
            self.bury(transition.message, transition.job.queue, reason=Reason.PERMANENT, failure=failure)

    def _tell(self, transition: Transition, call: Callable[[], None]) -> None:
        """Make the call; its errors do not affect other jobs."""
        try:
            call()
        except Exception:
            logger.exception("job.settled_with_errors", extra={"job_id": transition.job.job_id})

    def _keep(self, transition: Transition) -> None:
        with self._lock:
            self._waiting.append(transition)
        self._schedule()

    def _schedule(self) -> None:
        with self._lock:
            if self._scheduled:
                return
            self._scheduled = True
        try:
            self.later(TRY_AGAIN_AFTER, self._try_waiting)
        except Exception:  # the next kept transition schedules again
            logger.exception("settlement.not_scheduled")
            self._scheduled = False

    def _try_waiting(self) -> None:
        with self._lock:
            self._scheduled = False
            transitions, self._waiting = list(self._waiting), deque()
        for transition in transitions:
            self.write(transition)
