"""A job in the worker's hands: what the pool and Celery call when its attempt begins, ends, or is revoked.

``worker/start.py`` hands the attempt to the pool; ``worker/outcome.py`` decides what becomes of the job.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded
from celery.utils.imports import symbol_by_name
from celery.worker import request as celerys
from celery.worker.request import Request
from celery.worker.state import (
    active_requests,
    all_total_count,
    requests,
    reserved_requests,
    task_ready,
    total_count,
)

from ..domain.events import JobExpired, JobReturned, JobStarted, JobSucceeded
from ..domain.job import Failure, Reason, utcnow
from ..message import headers as message_headers
from ..text.lines import Line
from . import attempt, hooks
from .attempt import Ended, Report
from .monitoring import tells_of_tasks
from .start import StartedRequest

logger = logging.getLogger(__name__)


class JobRequest(StartedRequest):
    """Celery's request for one attempt of a job."""

    hears_failures = False
    """Whether a user's request class overrides ``on_failure`` and so must receive each failure."""
    _report: Report | None = None
    _terminate_on_ack: tuple[Any, Any] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Undo the overrides of Celery's ``create_request_cls``.

        It makes a subclass per task and overrides these two methods with shortcuts that bypass ours.
        """
        super().__init_subclass__(**options)
        if cls.__module__ != Request.__module__:
            cls.plain = False
            return  # a user's own class
        for name in ("execute_using_pool", "on_success"):
            if name in cls.__dict__:
                delattr(cls, name)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What ``celery inspect`` and Flower show of the job; ``NIGHTSHIFT_REDACT`` hides arguments here too."""
        found: dict[str, Any] = super().info(safe)
        if not safe:
            texts = self._app.services.texts(self._task)
            found["args"], found["kwargs"] = texts.shown(found["args"], found["kwargs"])
        return found

    # -- the attempt ---------------------------------------------------------------------------------------

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """The attempt begins; with ``acks_late=False`` acknowledge it, unless another worker has taken it over."""
        try:
            self._begin(pid, time_accepted)
        except Exception:  # in a pool of threads it would silently keep the job from running
            text = "what is told at its beginning failed; it runs all the same"
            logger.exception(Line("job.hook_failed", text, job_id=self.id, task=self.type))

    def _begin(self, pid: int, time_accepted: float) -> None:
        self._app.line.stir()
        terminate, self._terminate_on_ack = self._terminate_on_ack, None
        if self._task.acks_late or self._still_ours():
            super().on_accepted(pid, time_accepted)
        else:
            self.acknowledged = True
            super().on_accepted(pid, time_accepted)
            self.acknowledged = False
        at = self._started_at or utcnow()
        self._emit(self._started(at))
        if terminate is not None:  # requested before the child reported the start, which comes first
            self.terminate(*terminate)

    def _started(self, at: datetime) -> JobStarted:
        wait = self._wait_before(at)
        return JobStarted(self.job, at, self._hostname, wait, self._untold_relations())

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The job reached a time limit. A hard one also arrives as a failure, which settles the job."""
        if soft:
            super().on_timeout(soft, timeout)

    def on_success(self, failed__retval__runtime: Ended | ExceptionInfo, **_: Any) -> None:
        """The child reports that the attempt has ended, one way or another."""
        if isinstance(
            failed__retval__runtime, ExceptionInfo
        ):  # from in-process pools, for SystemExit and its like
            self.on_failure(failed__retval__runtime)
        elif failed__retval__runtime[1] is not None:  # None: gevent, for a terminated job, which is settled
            report = Report(*failed__retval__runtime[1])
            self._app.line.ended(self._type, report.runtime or 0.0)
            if report.kind == "failed" and self.hears_failures:
                failure, self._report = report.failure or Failure("unknown"), report
                self.on_failure(hooks.info(hooks.exception_like(failure), failure.traceback), return_ok=True)
            self._conclude(report)  # changes nothing if ``on_failure`` has settled the job

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:  # noqa: ARG002
        """The attempt ended without a report from the child: it was killed, or over its time limit.

        As in Celery, a user's request class that overrides it also receives failures that the child reported.
        """
        report, self._report = self._report, None
        if report is not None:
            self._conclude(report)
            return
        task_ready(self)
        self._app.line.ended(self._type, self._runtime or 0.0)
        self._end_without_report(Report("failed", self._runtime, failure=_failure_from(exc_info)), exc_info)

    def _succeeded_plainly(self, pid: int, accepted_at: float, runtime: float) -> None:
        """The attempt succeeded, and there is no more to tell; its beginning may not have been told.

        It does what ``on_accepted`` and ``on_success`` do, where nobody else is told of them.
        """
        if (
            self.settled
            or self._terminate_on_ack is not None
            or not self._task.acks_late
            or tells_of_tasks(self._eventer)
            or self._app.deduplicates
            or celerys.logger.isEnabledFor(logging.DEBUG)
        ):
            if self.time_start is None:
                self.on_accepted(pid, accepted_at)
            self._reported((0, tuple(Report("succeeded", runtime, representation="None")), runtime))
            return
        try:
            self._app.line.ended(self._type, runtime)
            emit, job = self._emitter, self.job
            if self.time_start is None:
                began = time() - (monotonic() - accepted_at)
                self.worker_pid, self.time_start = pid, began
                total_count[self.name] += 1
                all_total_count[0] += 1
                at = datetime.fromtimestamp(began, UTC)
                emit(self._started(at))
            else:
                active_requests.discard(self)
            requests.pop(self.id, None)
            reserved_requests.discard(self)
            self._done()
            emit(JobSucceeded(job, utcnow(), self._hostname, runtime))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the job has succeeded
            self._rescue(exc, Report("succeeded", runtime))

    def _reported(self, ended: Any, **options: Any) -> None:
        """Call ``on_success``, maybe a user's, and settle the job whatever it raises."""
        try:
            self.on_success(ended, **options)
            if not (self.settled or self._already_cancelled):  # a user's override that did not call ours
                JobRequest.on_success(self, ended)
        except Exception as exc:  # noqa: BLE001 - a user's override may raise anything
            plain = isinstance(ended, tuple) and ended[1] is not None
            self._rescue(exc, Report(*ended[1]) if plain else None)

    def _broken_off(self, exc_info: Any, **options: Any) -> None:
        """Call ``on_failure``, maybe a user's, and settle the job whatever it raises."""
        try:
            self.on_failure(exc_info, **options)
            if not (self.settled or self._already_cancelled):
                JobRequest.on_failure(self, exc_info)
        except Exception as exc:  # noqa: BLE001 - likewise
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
            self._report_lost(report)
            self._settle(report, exc_info)

    def _report_lost(self, report: Report) -> None:
        """Report the attempt as a span, because its process was killed."""
        tracing = self._app.services.tracing
        if tracing is None:
            return
        try:
            failure = report.failure or Failure("unknown")
            tracing.lost(self._request_dict, self.queue, self.time_start, self._hostname, failure)
        except Exception:
            text = "its span was not reported"
            logger.exception(Line("job.hook_failed", text, job_id=self.id, task=self.type))

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        """A job was revoked (that is cancelled), terminated, or has expired; Celery calls it for each of them."""
        task_ready(self)
        self._already_revoked = True
        if self.settled:  # it has just ended
            return
        self.send_event("task-revoked", terminated=terminated, signum=signum, expired=expired)
        if not expired:
            self._end_cancelled(f"{reason} ({signum})" if signum else reason, self._runtime)
        elif message_headers.drops_expired(self._request_dict, self._task):
            self._done()
            self._emit(JobExpired(self.job, utcnow(), self._hostname))
        else:
            failure = Failure("celery.exceptions.TaskRevokedError", reason)
            self._bury(Reason.EXPIRED, failure, self._runtime, ran=bool(self.time_start))
        hooks.revoked(self, reason, terminated=terminated, signum=signum, expired=expired)

    def _drop_cancelled(self, how: str) -> None:
        self._announce_revoked(how, False, None, False)

    def _announce_cancelled(self, emit_retry: bool = True) -> None:  # noqa: ARG002 - Celery's signature
        """Celery cancelled the attempt after the connection was lost; the broker delivers the job again."""
        task_ready(self)
        self._already_cancelled = True
        self.send_event("task-cancelled")
        self._emit(JobReturned(self.job, utcnow(), self._hostname, "the connection to the broker was lost"))


def settled_by_us(kind: Any) -> type[JobRequest]:
    """A request class that combines ``kind`` (a class or its path) with ours."""
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
