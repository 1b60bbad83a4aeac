"""A job in the worker's hands: what Celery tells about its attempt, turned into one settlement.

Celery's own ``Request`` acknowledges or rejects in half a dozen places, each with its own idea of what
becomes of the job. Here every ending (return, exception, soft or hard limit, killed child, rejection,
revocation, expiry) comes down to ``_settle`` or ``bury``, and from there to ``worker/settle.py``.
"""

from __future__ import annotations

import logging
import random
import weakref
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded
from celery.exceptions import Ignore, Reject, TaskRevokedError
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_jobs
from celery.worker.state import task_ready

from .. import message as jobs
from ..events import JobRetrying, JobReturned, JobStarted, JobSucceeded
from ..job import MAX_TEXT, Failure, Reason, utcnow
from ..retry import Dead, RetryAt, decide
from . import attempt, hooks
from .attempt import Ended, Report
from .facts import JobFacts
from .settle import Step, encode, outgoing

JSON = "application/json"
TAKEN = "another worker took it over"
REVOKED = "revoked"
"""In the history that travels with a job: when it was buried because somebody had revoked it."""

logger = logging.getLogger(__name__)


class JobRequest(JobFacts):
    """Celery's request, settled by us."""

    settled = False
    _limit_is_the_end = False
    """Whether the pool says of a hard limit only that it was reached (gevent), and not also that it failed."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Undo what Celery's ``create_request_cls`` does to any Request class.

        It makes a subclass per task and overrides these two methods with shortcuts that go round ours.
        """
        super().__init_subclass__(**options)
        if cls.__module__ != Request.__module__:
            return  # a user's own
        for name in ("execute_using_pool", "on_success"):
            if name in cls.__dict__:
                delattr(cls, name)

    # -- the attempt ---------------------------------------------------------------------------------------

    def execute_using_pool(self, pool: Any, **_: Any) -> Any:
        """Hand the job to the pool; raises ``TaskRevokedError`` if it is not to run here (any more)."""
        try:
            return self._hand_to(pool)
        except (TaskRevokedError, *self.settlement.runtime.broker.errors):
            raise
        except RecursionError as exc:  # perhaps not its own fault; the delivery limit decides
            task_ready(self)
            self.give_back(f"{type(exc).__name__}: {exc}")
            raise TaskRevokedError(self.id) from exc
        except Exception as exc:
            if self.settled or self.acknowledged:
                raise
            task_ready(self)
            self._bury(Reason.INVALID, Failure.of(exc), ran=False)
            raise TaskRevokedError(self.id) from exc

    def _hand_to(self, pool: Any) -> Any:
        if self.revoked():
            raise TaskRevokedError(self.id)
        time_limit, soft_time_limit = self.time_limits
        self._delivery_info["queue"] = self.queue  # for what the child says of the job
        self._limit_is_the_end = getattr(pool, "is_green", False)
        # decoded already, to be checked; the child need not do it again
        body, content_type, content_encoding = self._body, self._content_type, self._content_encoding
        if content_type == JSON:
            body, content_type, content_encoding = self._message.payload, None, None
        target = attempt.run
        if not pool.uses_semaphore:  # it waits in the pool now, and is asked for when its turn has come
            target = partial(attempt.run_if, self._still_ours)
        elif not self._still_ours():
            task_ready(self)
            self.give_back(TAKEN)
            raise TaskRevokedError(self.id)
        result = pool.apply_async(
            target,
            args=(self._type, self.id, self._request_dict, body, content_type, content_encoding),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self.on_success,
            error_callback=self.on_failure,
            soft_timeout=soft_time_limit or self._task.soft_time_limit,
            timeout=time_limit or self._task.time_limit,
            correlation_id=self.id,
        )
        self._apply_result = None if result is None else weakref.ref(result)
        return result

    def revoked(self) -> bool:
        """Whether it was revoked or has expired; it is buried then.

        A worker remembers for hours what was revoked. That is over once the job was buried for it: who replays the
        job wants it to run.
        """
        if self.id in revoked_jobs:
            buried = jobs.parse_time(jobs.history(self._request_dict).get(REVOKED))
            ago = timedelta(seconds=monotonic() - revoked_jobs.as_dict()[self.id])
            if buried and utcnow() - ago < buried:
                revoked_jobs.discard(self.id)
        return bool(super().revoked())

    def maybe_expire(self) -> bool:
        """Whether it has expired. Celery would remember it as revoked, too, and bury it when it is replayed."""
        known = self.id in revoked_jobs
        expired = bool(super().maybe_expire())
        if not known:
            revoked_jobs.discard(self.id)
        return expired

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The attempt begins; with ``acks_late=False`` this acknowledges it, unless another worker has it."""
        if self._task.acks_late or self._still_ours():
            super().on_accepted(pid, time_accepted)
        else:
            self.acknowledged = True
            super().on_accepted(pid, time_accepted)
            self.acknowledged = False
        at = self._started_at or utcnow()
        self._emit(JobStarted(self.job, at, self._hostname, self._wait_before(at)))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A time limit was reached. A hard one comes as a failure too, and is settled there."""
        if soft:
            super().on_timeout(soft, timeout)
        elif self._limit_is_the_end:
            try:
                raise TimeLimitExceeded(timeout)
            except TimeLimitExceeded:
                self.on_failure(ExceptionInfo())

    def on_success(self, failed__retval__runtime: Ended, **_: Any) -> None:
        """The child reports that the attempt has ended, one way or another."""
        report = Report(*failed__retval__runtime[1])
        if report.kind == "failed":
            task_ready(self)
            self._settle(report)
            return
        if report.kind == "taken":
            task_ready(self)
            self.give_back(TAKEN)
            return
        if report.kind == "rejected":
            task_ready(self)
            self._rejected(report.requeue, report.failure)
            return
        task_ready(self, successful=self._app.deduplicates)
        self.acknowledge()
        self._emit(JobSucceeded(self.job, utcnow(), self._hostname, report.runtime or 0.0, report.result))
        self.send_event("task-succeeded", result=report.representation, runtime=report.runtime)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: ARG002
        """The pool reports that the attempt ended without a report from the child: killed, or over time."""
        task_ready(self)
        exc = attempt.exception_of(exc_info)
        if self.settled or self._already_cancelled or self._already_revoked:
            return
        if self._app.draining:
            self.give_back("the worker stops")
        elif isinstance(exc, Terminated):
            self._announce_revoked("terminated", True, str(exc), False)
        elif isinstance(exc, Reject):
            self._rejected(exc.requeue, attempt.failure_of(exc_info))
        elif isinstance(exc, Ignore):
            self.acknowledge()
        else:
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                exc_info = self._worker_lost_info(exc)
            self._settle(Report("failed", self._runtime, failure=_failure_from(exc_info)), exc_info)

    # -- the settlement ------------------------------------------------------------------------------------

    def _settle(self, report: Report, exc_info: Any = None) -> None:
        """Write what follows a failed attempt. ``exc_info``: nobody has told Celery's hooks of it yet."""
        if self.settled:
            return
        self.settled = True
        failure = report.failure or Failure("unknown")
        decision = report.decision or self._decide(failure)
        if isinstance(decision, Dead):
            self._bury(decision.reason, failure, report.runtime, ran=True, exc_info=exc_info)
        else:
            self._retry(decision, failure, report, exc_info)

    def _decide(self, failure: Failure) -> RetryAt | Dead:
        """The policy's word on an attempt whose end the child could not judge."""
        logger.debug("judging %s of %s in the parent process", failure, self.humaninfo())
        return decide(
            self.policy,
            retriable=True,
            retries=jobs.retries(self._request_dict),
            now=utcnow(),
            rng=random.random,
        )

    def _retry(self, decision: RetryAt, failure: Failure, report: Report, exc_info: Any) -> None:
        message, options = self._message, report.options or {}
        headers = jobs.next_attempt(
            self._job_headers(), self._ended(failure, report.runtime), due=decision.at
        )
        if "expires" in options:
            headers["expires"] = options["expires"]
        changed = {"priority": options["priority"]} if "priority" in options else {}
        body = report.body or (encode(self._body) if self._decoded else None)
        job, at = self.job, utcnow()

        def retried() -> None:
            self.acknowledged = True
            self._emit(
                JobRetrying(job, at, self._hostname, report.runtime, failure, decision.at, decision.wait,
                            self.policy.max_retries)
            )  # fmt: skip
            self.send_event("task-retried", exception=failure.shown, traceback=failure.traceback)
            if exc_info is not None:
                hooks.retried(self, exc_info)

        def unwritable(why: Failure) -> None:
            self._bury(Reason.PERMANENT, _also(why, failure), report.runtime, ran=True, exc_info=exc_info)

        step = Step(
            None if self.acknowledged else message,
            outgoing(message, headers, body, **changed),
            options.get("queue") or self.queue,
            decision.at if decision.wait > 0 else None,
            job,
            retried,
            unwritable,
        )
        self.settlement.write(step)

    def _bury(
        self,
        reason: Reason,
        failure: Failure,
        runtime: float | None = None,
        *,
        ran: bool,
        exc_info: Any = None,
    ) -> None:
        self.settled = True

        def buried() -> None:
            self.acknowledged = True
            self._tell_monitors(reason, failure)
            if exc_info is not None:
                hooks.failed(self, exc_info)

        self.settlement.bury(
            self._message,
            self.queue,
            reason=reason,
            failure=failure,
            ended=self._ended(failure, runtime) if ran else None,
            runtime=runtime,
            released=self.acknowledged,
            then=buried,
        )

    def _rejected(self, requeue: bool, failure: Failure | None) -> None:
        failure = failure or Failure("Reject")
        if requeue:
            self.give_back("the task rejected it with requeue=True", failure)
        else:
            self._bury(Reason.REJECTED, failure, self._runtime, ran=True)

    def give_back(self, why: str, failure: Failure | None = None) -> None:
        """Return the job to its queue, to be run again.

        One that was acknowledged early has no message to return: this attempt has failed then, with ``failure``.
        """
        if self.acknowledged:
            self._settle(Report("failed", self._runtime, failure=failure or Failure("Returned", why)))
            return
        self.settled = True

        def returned() -> None:
            self.acknowledged = True
            self.send_event("task-rejected", requeue=True)
            self._emit(JobReturned(self.job, utcnow(), self._hostname, why))

        self.settlement.give_back(self._message, self.job, returned)

    def reject(self, requeue: bool = False) -> None:
        """Celery cannot run this message: give it back, or bury it. Nothing is discarded."""
        if self.acknowledged or self.settled:
            return
        if requeue:
            self.give_back("rejected with requeue=True")
        else:
            self._bury(Reason.INVALID, Failure("Reject", "Celery could not start this job"), ran=False)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Revoked, terminated or expired: kept as a dead letter, from where it can be replayed."""
        task_ready(self)
        self._already_revoked = True
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
        if not expired:
            headers = self._message.headers
            headers[jobs.HISTORY] = {**jobs.history(headers), REVOKED: utcnow().isoformat()}
        self._bury(
            Reason.EXPIRED if expired else Reason.REVOKED,
            Failure("celery.exceptions.TaskRevokedError", f"{reason} ({signum})" if signum else reason),
            self._runtime,
            ran=bool(self.time_start),
        )
        hooks.revoked(self, reason, terminated=terminated, signum=signum, expired=expired)

    def _announce_cancelled(self, emit_retry: bool = True) -> None:  # noqa: ARG002 - Celery's signature
        """The connection was lost and the attempt cancelled; the broker gives the job out again."""
        task_ready(self)
        self._already_cancelled = True
        self.send_event("task-cancelled")
        self._emit(JobReturned(self.job, utcnow(), self._hostname, "the connection to the broker was lost"))

    def _emit(self, event: Any) -> None:
        # Celery's own helpers (chord_unlock, backend_cleanup, …) are plumbing, not anybody's jobs
        if not self._type.startswith("celery."):
            self.settlement.runtime.events.emit(event)

    def _still_ours(self) -> bool:
        """Whether the broker did not give the job to another worker; one that cannot tell does not while we live."""
        if self.acknowledged:  # early, when it was ours; nobody else gets it
            return True
        holds = getattr(self._message.channel, "holds", None)
        return holds is None or holds(self._message.delivery_tag)


def settled_by_us(kind: Any) -> type[JobRequest]:
    """The request class ``kind``, or the one of that name, in front of ours."""
    found = symbol_by_name(kind)
    if issubclass(found, JobRequest):
        return found
    if issubclass(JobRequest, found):
        return JobRequest
    return type(found.__name__, (found, JobRequest), {"__module__": found.__module__})


def _also(failure: Failure, before: Failure) -> Failure:
    """``failure``, which followed upon ``before``."""
    return Failure(failure.error, f"{failure.message} (the attempt: {before})"[:MAX_TEXT], before.traceback)


def _failure_from(exc_info: Any) -> Failure:
    failure = attempt.failure_of(exc_info)
    exc = attempt.exception_of(exc_info)
    if isinstance(exc, TimeLimitExceeded):
        return Failure(
            failure.error, f"the hard time limit of {exc.args[0]:g} s was reached" if exc.args else ""
        )
    return failure
