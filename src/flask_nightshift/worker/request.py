"""A job in the worker's hands: the attempt, and what Celery tells of it.

The attempt is handed to the pool here, and here the pool says how it ended. What becomes of the job then is decided in
``worker/outcome.py``.
"""

from __future__ import annotations

import logging
import weakref
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded
from celery.exceptions import TaskRevokedError
from celery.utils.imports import symbol_by_name
from celery.worker.request import Request
from celery.worker.state import revoked as revoked_jobs
from celery.worker.state import task_ready

from ..domain.events import JobReturned, JobStarted
from ..domain.job import Failure, Reason, utcnow
from ..message import headers as message_headers
from ..text.lines import Line
from . import attempt, hooks
from .attempt import Ended, Report
from .outcome import REVOKED, TAKEN, SettledRequest

JSON = "application/json"

BEGIN_AGAIN = 0.5
"""Seconds until a job is begun again that could not be counted, because the broker did not answer."""

logger = logging.getLogger(__name__)


class JobRequest(SettledRequest):
    """Celery's request for one attempt of a job."""

    hears_failures = False
    """Whether it is of a user's class that wants to hear of each failure."""
    _report: Report | None = None
    _terminate_on_ack: tuple[Any, Any] | None = None

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
        """Hand the job to the pool; raises ``TaskRevokedError`` if it is not to run here (any more).

        One that cannot be handed over (its arguments are nested too deep to be sent to a child) is buried.
        """
        try:
            return self._hand_to(pool)
        except (TaskRevokedError, *self.settlement.services.broker.errors):
            raise
        except Exception as exc:
            if self.settled or self.acknowledged:
                raise
            task_ready(self)
            failure = Failure.of(exc).because("it cannot be handed to a child process")
            self._bury(Reason.INVALID, failure, ran=False, exc_info=hooks.info(exc))
            raise TaskRevokedError(self.id) from exc

    def _hand_to(self, pool: Any) -> Any:
        if self.revoked():
            raise TaskRevokedError(self.id)
        time_limit, soft_time_limit = self.time_limits
        time_limit = time_limit or self._task.time_limit
        self._delivery_info["queue"] = self.queue  # for what the child says of the job
        # decoded already, to be checked; the child need not do it again
        body, content_type, content_encoding = self._body, self._content_type, self._content_encoding
        if content_type == JSON:
            body, content_type, content_encoding = self._message.payload, None, None
        target = attempt.run
        if pool.is_green and hasattr(pool, "timeout"):
            time_limit, seconds = 0, time_limit or pool.timeout
            target = partial(attempt.run_within, seconds or None, self._begins_in_the_pool)
        elif not pool.uses_semaphore:  # it waits in the pool now, and is asked for when its turn has come
            target = partial(attempt.run_if, self._begins_in_the_pool)
        else:
            try:
                begins = self._begins()
            except self.settlement.services.broker.errors as exc:
                self._begin_later(exc)
                return None
            if not begins:
                task_ready(self)
                self.give_back(TAKEN)
                raise TaskRevokedError(self.id)
        result = pool.apply_async(
            target,
            args=(self._type, self.id, self._request_dict, body, content_type, content_encoding),
            accept_callback=self.on_accepted,
            timeout_callback=self.on_timeout,
            callback=self._reported,
            error_callback=self._broken_off,
            soft_timeout=soft_time_limit or self._task.soft_time_limit,
            timeout=time_limit,
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
            buried = message_headers.parse_time(message_headers.history(self._request_dict).get(REVOKED))
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
        try:
            self._begin(pid, time_accepted)
        except Exception:  # in a pool of threads it would keep the job from running, without a word
            text = "what is told at its beginning failed; it runs all the same"
            logger.exception(Line("job.hook_failed", text, job_id=self.id, task=self.type))

    def _begin(self, pid: int, time_accepted: float) -> None:
        terminate, self._terminate_on_ack = self._terminate_on_ack, None
        if self._task.acks_late or self._still_ours():
            super().on_accepted(pid, time_accepted)
        else:
            self.acknowledged = True
            super().on_accepted(pid, time_accepted)
            self.acknowledged = False
        at = self._started_at or utcnow()
        self._emit(JobStarted(self.job, at, self._hostname, self._wait_before(at)))
        if (
            terminate is not None
        ):  # asked for before the child had said that it began: its end is told after that
            self.terminate(*terminate)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """A time limit was reached. A hard one comes as a failure too, and is settled there."""
        if soft:
            super().on_timeout(soft, timeout)

    def on_success(self, failed__retval__runtime: Ended | ExceptionInfo, **_: Any) -> None:
        """The child reports that the attempt has ended, one way or another."""
        if isinstance(
            failed__retval__runtime, ExceptionInfo
        ):  # pools within this process, of SystemExit and its like
            self.on_failure(failed__retval__runtime)
        elif failed__retval__runtime[1] is not None:  # gevent's for one that was terminated, and is settled
            report = Report(*failed__retval__runtime[1])
            if report.kind == "failed" and self.hears_failures:
                failure, self._report = report.failure or Failure("unknown"), report
                self.on_failure(hooks.info(hooks.exception_like(failure), failure.traceback), return_ok=True)
            self._conclude(report)  # of a failure that is settled, nothing

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: ARG002
        """The pool reports that the attempt ended without a report from the child: killed, or over time.

        A user's request class that overrides it is also told of a failure that the child reported, as in Celery.
        """
        report, self._report = self._report, None
        if report is not None:
            self._conclude(report)
            return
        task_ready(self)
        self._end_without_report(Report("failed", self._runtime, failure=_failure_from(exc_info)), exc_info)

    def _reported(self, ended: Any, **options: Any) -> None:
        """Have ``on_success`` settle the job, which may be a user's: whatever it raises, the job is settled."""
        try:
            self.on_success(ended, **options)
            if not (self.settled or self._already_cancelled):  # a user's, that did not call ours
                JobRequest.on_success(self, ended)
        except Exception as exc:  # noqa: BLE001 - whatever it is
            plain = isinstance(ended, tuple) and ended[1] is not None
            self._rescue(exc, Report(*ended[1]) if plain else None)

    def _broken_off(self, exc_info: Any, **options: Any) -> None:
        """The same for ``on_failure``."""
        try:
            self.on_failure(exc_info, **options)
            if not (self.settled or self._already_cancelled):
                JobRequest.on_failure(self, exc_info)
        except Exception as exc:  # noqa: BLE001 - whatever it is
            self._rescue(exc, Report("failed", self._runtime, failure=_failure_from(exc_info)))

    def _end_without_report(self, report: Report, exc_info: Any) -> None:
        exc = attempt.exception_of(exc_info)
        if self.settled or self._already_cancelled or self._already_revoked:
            return
        if self._app.draining:
            self.give_back("the worker stops")
        elif isinstance(exc, Terminated):
            self._announce_revoked("terminated", True, str(exc), False)
        elif isinstance(exc, (SystemExit, KeyboardInterrupt)):
            exc_info = self._worker_lost_info(exc)
            self._settle(report._replace(failure=_failure_from(exc_info)), exc_info)
        else:
            self._settle(report, exc_info)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """Revoked, terminated or expired: kept as a dead letter, from where it can be replayed."""
        task_ready(self)
        self._already_revoked = True
        if self.settled:  # it ended just before
            return
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
        if not expired:
            headers = self._message.headers
            headers[message_headers.HISTORY] = {
                **message_headers.history(headers),
                REVOKED: utcnow().isoformat(),
            }
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

    def _still_ours(self) -> bool:
        """Whether the broker did not give the job to another worker; one that cannot tell does not while we live."""
        if self.acknowledged:  # early, when it was ours; nobody else gets it
            return True
        return self.settlement.services.broker.holds(self._message)

    def _begins(self) -> bool:
        """Have the delivery counted before the job begins (invariant 3); False if another worker has the job.

        Raises what the broker's library does: then the job must not begin.
        """
        if self.acknowledged:  # already, with ``acks_late=False``: nothing is left to count
            return True
        broker = self.settlement.services.broker
        if broker.capabilities.counts_starts:
            return broker.begin(self._message)
        return self.settlement.fence.opens(self._message.channel)

    def _begin_later(self, exc: Exception) -> None:
        """Keep the free child, and try again in a moment.

        When the connection is lost meanwhile, Celery forgets the job; nobody may refer to it then, so that it goes
        back to its queue. And nothing may be raised here: billiard frees a child, and so begins the next job, before
        it tells of the one that has ended, and that one's report would be lost.
        """
        logger.warning("job.not_begun", extra={"job_id": self.id, "task": self.name, "why": str(exc)})
        start, this = self.settlement.start, weakref.ref(self)

        def again() -> None:
            request = this()
            if request is not None and request.message.channel.connection is not None:
                start(request)

        self.settlement.later(BEGIN_AGAIN, again)

    def _begins_in_the_pool(self) -> bool:
        """The same, where nobody would understand the broker's errors: the job goes back then."""
        try:
            return self._begins()
        except self.settlement.services.broker.errors as exc:
            logger.warning("job.not_begun", extra={"job_id": self.id, "task": self.name, "why": str(exc)})
            return False


def settled_by_us(kind: Any) -> type[JobRequest]:
    """The request class ``kind``, or the one of that name, in front of ours."""
    found = symbol_by_name(kind)
    if issubclass(JobRequest, found):
        return JobRequest
    if issubclass(found, JobRequest):
        return found
    hears = found.on_failure is not Request.on_failure
    return type(
        found.__name__, (found, JobRequest), {"__module__": found.__module__, "hears_failures": hears}
    )


def _failure_from(exc_info: Any) -> Failure:
    exc = attempt.exception_of(exc_info)
    if isinstance(exc, TimeLimitExceeded) and exc.args:
        return attempt.over_time(exc.args[0])
    return attempt.failure_of(exc_info)
