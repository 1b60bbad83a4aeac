"""One attempt, in a child process if the pool forks: Celery's tracer runs the task, and a plain report returns.

The report holds text and numbers only, so an exception that cannot be pickled, or whose class the parent cannot
import, does not lose the attempt.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded
from celery import Task, current_app
from celery.app import trace
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.utils.log import LoggingProxy
from celery.utils.saferepr import saferepr

from ..domain.context import current_job
from ..domain.job import MAX_TEXT, Failure, Reason, cut
from ..domain.retry import Dead, RetryAt
from ..errors import BrokerUnavailable, DatabaseUnavailable
from ..lifetime import greenlets
from ..lifetime.copies import OriginalOnly
from ..message import headers as message_headers
from ..message.unique import lock_of
from ..store.ledger import names_newer_run
from ..task.attempt_outcome import AttemptOutcome, BegunAttempt, Postponed, StoppedByCancel
from ..unique import passing
from . import ledger, short_way
from .ordinary import Ordinary
from .result_backend import BackendReport, Guarded, UnstoredResult

_ordinary = Ordinary()
around: Callable[..., Ended] | None = None
"""Runs an attempt within a span, where an app is instrumented (``otel/processing.py``)."""


class Report(NamedTuple):
    """How an attempt ended, as the child saw it.

    ``kind`` is ``succeeded``, ``failed``, ``rejected``, ``ignored`` (the task replaced itself, or raised
    ``Ignore``), ``postponed`` (it waits for another job, see ``jobs.once()``), ``cancelled`` (its body stopped for
    that), ``superseded`` (the ledger of durable jobs names another run, or an outcome) or ``taken`` (it did not run:
    this worker was frozen and another one has the job, or the job was cancelled).
    ``decision`` is the retry policy's decision after a failure. ``body`` is the new message body
    ``(content_type, content_encoding, bytes)`` if the retry has other arguments. ``why`` is the reason that a task
    gave for rejecting its job. ``unstored`` is the end that the result backend has not stored yet.
    ``skipped`` says by which job the work was done before, so that the body did not run, and why. ``passed_on`` is the
    key of the lock that a unique job has passed on: to the job that replaces it, or to its newer run.
    """

    kind: str
    runtime: float | None = None
    result: str | None = None
    representation: str = ""
    failure: Failure | None = None
    decision: RetryAt | Dead | None = None
    body: tuple[str, str, bytes] | None = None
    options: dict[str, Any] | None = None
    requeue: bool = False
    why: str = ""
    unstored: UnstoredResult | None = None
    skipped: tuple[str, str] | None = None
    passed_on: str = ""


Ended = tuple[int, tuple[Any, ...], float | None]
"""``(failed, report, runtime)``. The report is a plain tuple, because unpickling a tuple looks up no class."""


def run_if(still_ours: Callable[[], bool], *args: Any, **options: Any) -> Ended:
    """``run``, in a pool with a queue of its own in this process, unless another worker has taken the job over."""
    if not still_ours():
        return ended(Report("taken"))
    return run(*args, **options)


def run_within(seconds: float | None, still_ours: Callable[[], bool], *args: Any, **options: Any) -> Ended:
    """``run_if`` in a greenlet, for at most ``seconds``; None means no limit.

    The pool's own limit would also cover the settlement, which nothing may interrupt.
    """
    return greenlets.within(
        seconds,
        lambda: run_if(still_ours, *args, **options),
        lambda limit: ended(Report("failed", limit, failure=over_time(limit))),
    )


def run(
    task: str,
    uuid: str,
    request: dict[str, Any],
    body: Any,
    content_type: str | None,
    content_encoding: str | None,
    *,
    traced: bool = False,
    **options: Any,
) -> Ended:
    """Run an attempt; the pool calls this in place of Celery's tracer. It raises only what ends a process.

    ``traced``: its span has begun, or it gets none.
    """
    if around is not None and not traced:
        return around(run, task, uuid, request, body, content_type, content_encoding, **options)
    began, outcome, backend = perf_counter(), None, None
    # the fast path needs the registry that setup_worker_optimizations() leaves in a forked child
    fast = bool(trace._localized)  # noqa: SLF001
    tasks = trace._localized[0] if fast else current_app.tasks  # noqa: SLF001
    job = message_headers.ref(request, queue_of(request))
    token = current_job.set(job)
    try:
        kind = tasks[task]
        if job.durable and (by := ledger.refusal(kind.nightshift, job, request.get("hostname"))) is not None:
            return ended(_superseded(request, perf_counter() - began, by))
        with OriginalOnly(), BegunAttempt(uuid) as outcome, Guarded(kind.backend) as backend:
            shown = message_headers.shown(request)
            if _ordinary.refusal(kind, request, body, content_type) is None:
                end = short_way.run(kind, shown, body, trace._localized[2], outcome)  # noqa: SLF001
                if short_way.is_complete(end):
                    return _succeeded(end.value, kind, outcome, perf_counter() - began)
                outcome.end, shown = end, message_headers.shown(request)
            tracer = trace.fast_trace_task if fast else trace.trace_task_ret
            failed, returned, _ = tracer(task, uuid, shown, body, content_type, content_encoding, **options)
    except Exception:  # noqa: BLE001 - a hook's ``Reject``, no memory, an error in the tracer
        failed, returned = 1, ExceptionInfo()
    finally:
        if isinstance(sys.stdout, LoggingProxy):
            sys.stdout.flush()  # an unfinished line belongs to this job
        current_job.reset(token)
    runtime = perf_counter() - began
    outcome, backend = outcome or AttemptOutcome(uuid), backend or BackendReport()
    report = _report(returned, outcome) if failed else _success(returned, outcome, backend.unstorable)
    return ended(report._replace(runtime=runtime, unstored=backend.unstored))


def _superseded(request: dict[str, Any], runtime: float, by: tuple[str, str]) -> Report:
    """The report of a durable job whose run does not count. If a newer run does, that one has the lock."""
    lock = lock_of(request) if names_newer_run(by[0]) else None
    return Report("superseded", runtime, skipped=by, passed_on=lock.key if lock else "")


def _succeeded(value: Any, task: Any, outcome: AttemptOutcome, runtime: float) -> Ended:
    """The end of a job that succeeded on the short way."""
    plain = value is None and task.resultrepr_maxsize == Task.resultrepr_maxsize
    shown = "None" if plain else saferepr(value, task.resultrepr_maxsize)
    return 0, tuple(Report("succeeded", runtime, outcome.result, shown, skipped=_plain(outcome))), runtime


def ended(report: Report) -> Ended:
    """How an attempt has ended, as a pool reports it."""
    return int(report.kind != "succeeded"), tuple(report), report.runtime


def task_of(name: str) -> Any:
    """The task of that name in this process; None if it knows none."""
    return current_app.tasks.get(name)


def queue_of(request: Mapping[str, Any]) -> str:
    """The queue that a job came from, by its request."""
    info = request.get("delivery_info") or {}
    return info.get("queue") or message_headers.history(request).get("queue") or info.get("routing_key") or ""


def exception_of(einfo: ExceptionInfo) -> BaseException:
    """The exception in Celery's exception info, without billiard's wrapper, which carries its traceback."""
    return getattr(einfo.exception, "exc", None) or einfo.exception


def failure_of(einfo: ExceptionInfo) -> Failure:
    """The failure in Celery's exception info."""
    return Failure.of(exception_of(einfo), str(einfo.traceback or ""))


def over_time(seconds: float) -> Failure:
    """The failure of an attempt that reached its hard time limit."""
    error = Failure.of(TimeLimitExceeded(seconds)).error
    return Failure(error, f"the hard time limit of {seconds:g} s was reached")


def _success(returned: Any, outcome: AttemptOutcome, unstorable: str) -> Report:
    result = json.dumps(unstorable) if unstorable else outcome.result
    return Report("succeeded", result=result, representation=str(returned), skipped=_plain(outcome))


def _plain(outcome: AttemptOutcome) -> tuple[str, str] | None:
    return None if outcome.skipped is None else (outcome.skipped.by, outcome.skipped.why)


def _report(einfo: ExceptionInfo, outcome: AttemptOutcome) -> Report:
    exc = exception_of(einfo)
    if isinstance(exc, Postponed):
        return Report("postponed", why=cut(str(exc.reason), MAX_TEXT))
    if isinstance(exc, StoppedByCancel):
        return Report("cancelled")
    if isinstance(exc, Reject):
        return Report(
            "rejected",
            failure=failure_of(einfo),
            requeue=bool(exc.requeue),
            why=cut(str(exc.reason), MAX_TEXT),
        )
    if isinstance(exc, Ignore):
        return Report("ignored", passed_on=passing.take(outcome.job_id))
    if outcome.returned:
        if isinstance(exc, SoftTimeLimitExceeded) and not outcome.followed:
            return Report("succeeded", result=outcome.result)  # the limit is the body's, which was in time
        return _cut_off(exc, failure_of(einfo))
    return Report(
        "failed",
        failure=outcome.failure or failure_of(einfo),
        decision=outcome.decision,
        body=outcome.body,
        options=outcome.options,
    )


def _cut_off(exc: BaseException, failure: Failure) -> Report:
    """The report after the body has returned, if the next jobs (``link``, the rest of a chain) were not enqueued.

    The job runs again only if the broker was away for too long (invariant 13); otherwise it is buried, for a person to
    look at.
    """
    failure = failure.because("its body had returned, but what follows it was not enqueued")
    decision = (
        None
        if isinstance(exc, (BrokerUnavailable, DatabaseUnavailable, SoftTimeLimitExceeded))
        else Dead(Reason.PERMANENT)
    )
    return Report("failed", failure=failure, decision=decision)
