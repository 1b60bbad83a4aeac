"""The outcome of a job in the worker's hands: each end of an attempt becomes one transition of the settlement.

Celery's own ``Request`` acknowledges or rejects in half a dozen places, each by its own rule. Here every end becomes a
transition that ``worker/settlement.py`` writes (invariant 2). If an error occurs before that, ``_rescue`` settles the
job: it buries it, or else gives it back, so its place in the worker becomes free.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.exceptions import Reject
from celery.worker.state import task_ready

from ..domain.events import JobCancelled, JobRetrying, JobReturned, JobSkipped, JobSucceeded
from ..domain.job import Failure, Reason, is_celery_internal, utcnow
from ..domain.retry import Dead, RetryAt, decide
from ..message import headers as message_headers
from ..message.arguments import shown_arguments
from ..message.codec import serialized
from ..message.envelope import envelope_of
from ..message.unique import lock_of, remove_lock
from ..store import ledger
from ..text.lines import job_fields
from . import hooks
from .attempt import Report
from .delivery import Delivery
from .transition import Transition, pause

REVOKED = "revoked"
"""Key in the history that travels with a job: when it was buried because it had been revoked."""
TAKEN = "another worker took it over"
REPLACED = "replaced by"

logger = logging.getLogger(__name__)


class SettledRequest(Delivery):
    """Celery's request, settled by our code."""

    settled = False
    """Whether its transition was handed to the settlement, or nothing is left to settle."""
    acknowledged = False
    _replaced_by = ""
    """The id of the unique job that replaced this one before it began."""

    # -- the end of an attempt -----------------------------------------------------------------------------

    def _conclude(self, report: Report) -> None:
        """Settle the job by the child's report."""
        if self.settled and (self.acknowledged or report.kind != "succeeded"):
            return  # revoked or given back while it ran
        if report.kind == "failed":
            task_ready(self)
            self._settle(report)
        elif report.kind == "taken":
            task_ready(self)
            self._does_not_begin()
        elif report.kind == "rejected":
            task_ready(self)
            self._rejected(report.requeue, report.failure, report.why)
        elif report.kind == "postponed":
            task_ready(self)
            self._return_later(report.why)
        elif report.kind == "ignored":
            task_ready(self)
            self._done(report.passed_on)
        elif report.kind == "cancelled":
            self._drop_cancelled("stopped")
        elif report.kind == "superseded":
            task_ready(self)
            self._superseded(report)
        else:
            self._succeeded(report)
        if report.unstored is not None:
            hooks.store_later(self, report.unstored)

    def _succeeded(self, report: Report) -> None:
        task_ready(self, successful=self._app.deduplicates)
        self._done()
        runtime = report.runtime or 0.0
        if report.skipped is None:
            self._emit(JobSucceeded(self.job, utcnow(), self._hostname, runtime, report.result))
        else:
            self._emit(JobSkipped(self.job, utcnow(), *report.skipped, self._hostname, runtime=runtime))
        self.send_event("task-succeeded", result=report.representation, runtime=report.runtime)

    def _superseded(self, report: Report) -> None:
        """Drop a message of a durable job: the ledger names another run of it, or its outcome."""
        by, why = report.skipped or ("", "")
        if by == ledger.CANCELLED:
            self._drop_cancelled("cancelled")
            return
        self._done(report.passed_on)
        self._emit(JobSkipped(self.job, utcnow(), by, why, self._hostname, runtime=report.runtime))

    def _does_not_begin(self) -> None:
        """Settle a job that may not begin here: it was cancelled, another worker has it, or a job has replaced it."""
        if self._is_cancelled():
            self._drop_cancelled("cancelled")
            return
        if not self._replaced_by:
            self.give_back(TAKEN)
            return
        by = self._replaced_by
        self._done()
        self._emit(JobSkipped(self.job, utcnow(), by, REPLACED, self._hostname))
        self.send_event("task-revoked", terminated=False, signum=None, expired=False)
        hooks.revoked(self, f"replaced by {by}", terminated=False, signum=None, expired=False)

    def _done(self, passed_on: str = "") -> None:
        """Acknowledge the job, which never runs again, and release its lock, unless it has ``passed_on`` that key."""
        if self._app.cancels.known:
            self._app.cancels.has_ended(self.job)
        lock = lock_of(self._request_dict)
        if lock is not None and lock.key == passed_on:
            remove_lock(self._message.headers)  # a broker that holds locks releases those that it finds there
        elif lock is not None:
            self.settlement.locks.release(lock, self.acknowledge)
            self.settled = True
            return
        self.acknowledge()
        self.settled = True

    # -- cancelled jobs ------------------------------------------------------------------------------------

    def _drop_cancelled(self, how: str) -> None:
        """End the job as Celery ends a revoked one; ``JobRequest`` does it."""
        raise NotImplementedError

    def _is_cancelled(self) -> bool:
        """Whether somebody has cancelled the job, so that it must not begin, nor be tried again."""
        cancels = self._app.cancels
        return bool(cancels.known) and cancels.of(self.job) is not None

    def _end_cancelled(self, how: str, runtime: float | None) -> None:
        """The job never runs again; ``how`` says what happened, if no tombstone says who cancelled it."""
        order = self._app.cancels.of(self.job)
        why = how if order is None else order.why if how == "cancelled" else f"{how}; {order.why}"
        self._done()
        self._emit(JobCancelled(self.job, utcnow(), self._hostname, why, runtime))

    def _rescue(self, exc: Exception, report: Report | None) -> None:
        """Settle the job although ``exc`` was raised between the end of the attempt and its settlement."""
        logger.error("job.settled_with_errors", exc_info=exc, extra={"job_id": self.id, "task": self._type})
        with contextlib.suppress(Exception):
            task_ready(self)
        if report is not None and report.kind in ("succeeded", "ignored", "superseded"):
            passed_on = report.passed_on
            last_resorts: list[Callable[[], None]] = [lambda: self._done(passed_on), self._message.ack]
        else:
            last_resorts = [
                lambda: self._bury_for(exc, report),
                lambda: self.give_back(str(exc)),
                self._let_go,
            ]
        for settle in last_resorts:
            if self.settled or self._already_cancelled:
                return
            try:
                settle()
            except Exception:
                logger.exception("job.settled_with_errors", extra={"job_id": self.id, "task": self._type})

    def _bury_for(self, exc: Exception, report: Report | None) -> None:
        """Bury the job with the attempt's failure, if any, and with the error ``exc`` that prevented its settlement."""
        failure = report.failure if report is not None else None
        failure = (
            failure.because(f"then its settlement failed: {Failure.of(exc)}") if failure else Failure.of(exc)
        )
        runtime = report.runtime if report is not None else self._runtime
        self._bury(Reason.PERMANENT, failure, runtime, ran=bool(self.time_start), exc_info=hooks.info(exc))

    def _let_go(self) -> None:
        """Requeue the message, without any of our code."""
        if not self.acknowledged:
            self._message.reject(requeue=True)
        self.settled = self.acknowledged = True

    # -- the next state ------------------------------------------------------------------------------------

    def _settle(self, report: Report, exc_info: Any = None) -> None:
        """Retry or bury the job after a failed attempt. ``exc_info`` is given if Celery's hooks have yet to run."""
        if self.settled:
            return
        failure = report.failure or Failure("unknown")
        decision = report.decision or self._decide(failure)
        if isinstance(decision, RetryAt) and self._is_cancelled():
            self._drop_cancelled("not tried again")
            return
        if isinstance(decision, Dead):
            self._bury(decision.reason, failure, report.runtime, ran=True, exc_info=exc_info)
        else:
            self._retry(decision, failure, report, exc_info)

    def _decide(self, failure: Failure) -> RetryAt | Dead:
        """The policy's decision about an attempt whose end the child could not judge."""
        logger.debug("job.judged", extra=job_fields(self.job) | {"error": failure.error})
        return decide(
            self.policy,
            retriable=True,
            retries=message_headers.retries(self._request_dict),
            now=utcnow(),
            rng=random.random,
        )

    def _retry(self, decision: RetryAt, failure: Failure, report: Report, exc_info: Any) -> None:
        options = report.options or {}
        headers = message_headers.next_attempt(
            self._job_headers(), self._ended(failure, report.runtime), due=decision.at
        )
        if "expires" in options:
            headers["expires"] = options["expires"]
        changed = {"priority": options["priority"]} if "priority" in options else {}
        job, at = self.job, utcnow()

        def retried() -> None:
            self.acknowledged = True
            self._emit(
                JobRetrying(job, at, self._hostname, report.runtime, failure, decision.at, decision.wait,
                            self.policy.max_retries, *shown_arguments(headers))
            )  # fmt: skip
            self.send_event("task-retried", exception=failure.shown, traceback=failure.traceback)
            if exc_info is not None:
                hooks.retried(self, exc_info)

        def unwritable(why: Failure) -> None:
            shown = exc_info or hooks.info(hooks.exception_like(failure), failure.traceback)
            self._bury(Reason.PERMANENT, failure.because(str(why)), report.runtime, ran=True, exc_info=shown)

        self._write(
            Transition(
                None if self.acknowledged else self._message,
                envelope_of(self._message, headers, report.body or self._new_body, **changed),
                options.get("queue") or self.queue,
                decision.at if decision.wait > 0 else None,
                job,
                retried,
                unwritable,
            )
        )

    def _bury(
        self,
        reason: Reason,
        failure: Failure,
        runtime: float | None = None,
        *,
        ran: bool,
        exc_info: ExceptionInfo | None = None,
    ) -> None:
        """Bury the job. ``exc_info`` is given if result backend, chord and Celery's hooks do not know its end yet."""

        def buried() -> None:
            self.acknowledged = True
            self._tell_monitors(reason, failure)
            if self._app.cancels.known:
                self._app.cancels.has_ended(self.job)
            if exc_info is not None:
                hooks.failed(self, exc_info)

        self._write(
            self.settlement.burial(
                self._message,
                self.queue,
                reason=reason,
                failure=failure,
                ended=self._ended(failure, runtime) if ran else None,
                runtime=runtime,
                released=self.acknowledged,
                on_written=buried,
            )
        )

    def _rejected(self, requeue: bool, failure: Failure | None, why: str) -> None:
        """Settle a job whose task raised ``Reject``."""
        failure = failure or Failure("Reject")
        if requeue:
            self._return_later(f"the task rejected it with requeue=True{': ' if why else ''}{why}")
        else:
            shown = hooks.info(Reject(why or None, requeue=False), failure.traceback)
            self._bury(Reason.REJECTED, failure, self._runtime, ran=True, exc_info=shown)

    def _return_later(self, why: str) -> None:
        """Let a job that asked for it run again, as the same attempt: at the back of its queue, after a growing pause.

        It is published anew, so the broker does not count it among the deliveries that killed a worker.
        """
        if self._is_cancelled():
            self._drop_cancelled("not tried again")
            return
        wait = pause(message_headers.returns(self._request_dict))
        due = utcnow() + timedelta(seconds=wait)
        headers = message_headers.returned(self._job_headers(), due=due)

        def returned() -> None:
            self.acknowledged = True
            self.send_event("task-rejected", requeue=True)
            self._emit(JobReturned(self.job, utcnow(), self._hostname, f"{why}; it waits for {wait:g} s"))

        message = envelope_of(self._message, headers, self._new_body)
        original = None if self.acknowledged else self._message
        self._write(Transition(original, message, self.queue, due, self.job, returned))

    def give_back(self, why: str, failure: Failure | None = None) -> None:
        """Return the job to the head of its queue, to run again.

        If it was acknowledged early, no message can return; then this attempt has failed with ``failure``.
        """
        if self.acknowledged:
            self._settle(Report("failed", self._runtime, failure=failure or Failure("Returned", why)))
            return

        def returned() -> None:
            self.acknowledged = True
            self.send_event("task-rejected", requeue=True)
            self._emit(JobReturned(self.job, utcnow(), self._hostname, why))

        self._write(Transition(self._message, None, self.queue, None, self.job, returned))

    def reject(self, requeue: bool = False) -> None:
        """Give back or bury a message that Celery cannot run; it is never discarded."""
        if self.acknowledged or self.settled:
            return
        if requeue:
            self.give_back("rejected with requeue=True")
        else:
            refused = Reject("Celery could not start this job", requeue=False)
            failure = Failure("Reject", "Celery could not start this job")
            self._bury(Reason.INVALID, failure, ran=False, exc_info=hooks.info(refused))

    def _write(self, transition: Transition) -> None:
        self.settled = True  # first, because the settlement keeps a transition whose writing is interrupted
        self.settlement.write(transition)

    @property
    def _new_body(self) -> tuple[str, str, bytes] | None:
        """The body to publish if the message's own is not in protocol 2; None means the message's own."""
        return serialized(self._body, "json") if self._decoded else None

    def _emit(self, event: Any) -> None:
        self._emitter(event)

    @property
    def _emitter(self) -> Callable[[Any], object]:
        """Who is told the events of this job."""
        # Celery's own helpers (chord_unlock, backend_cleanup, …) are not jobs of a user
        return _tell_nobody if is_celery_internal(self._type) else self.settlement.services.events.emit


def _tell_nobody(event: Any) -> None:
    pass
