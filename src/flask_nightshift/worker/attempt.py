"""One attempt in the child process: Celery's tracer runs the task, a plain report goes back to the parent.

The report holds text and numbers only. An exception that cannot be pickled, or whose class the parent cannot
import, must not lose the attempt.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

from billiard.einfo import ExceptionInfo
from celery.app import trace
from celery.exceptions import Ignore, Reject
from celery.utils.log import LoggingProxy

from .. import message as jobs
from ..context import current_job
from ..job import Failure
from ..retry import Dead, RetryAt
from ..verdict import Verdict
from ..verdict import attempt as begin


class Report(NamedTuple):
    """How an attempt ended, from the child's point of view.

    ``kind`` is ``succeeded``, ``failed``, ``rejected``, ``ignored`` (the task replaced itself, or raised
    ``Ignore``) or ``taken`` (it did not run: this worker was frozen, and another one has the job).
    ``decision`` is what the retry policy said of a failure. ``body`` is the new message body
    ``(content_type, content_encoding, bytes)`` when the retry has other arguments.
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


Ended = tuple[int, tuple[Any, ...], float | None]
"""``(failed, report, runtime)``: the report as a plain tuple, since unpickling one looks up no class."""


def run_if(still_ours: Callable[[], bool], *args: Any, **options: Any) -> Ended:
    """``run``, in a pool that has its own queue in this process, unless the job was taken over meanwhile."""
    if not still_ours():
        return 1, tuple(Report("taken")), None
    return run(*args, **options)


def run(
    task: str,
    uuid: str,
    request: dict[str, Any],
    body: Any,
    content_type: str | None,
    content_encoding: str | None,
    **options: Any,
) -> Ended:
    """What the pool calls in place of Celery's tracer."""
    # the fast path needs the registry that setup_worker_optimizations() leaves in a forked child
    tracer = trace.fast_trace_task if trace._localized else trace.trace_task_ret  # noqa: SLF001
    began = perf_counter()
    token = current_job.set(jobs.ref(request, _queue(request)))
    try:
        with begin(uuid) as verdict:
            failed, returned, runtime = tracer(
                task, uuid, jobs.shown(request), body, content_type, content_encoding, **options
            )
    finally:
        if isinstance(sys.stdout, LoggingProxy):
            sys.stdout.flush()  # half a line is still this job's
        current_job.reset(token)
    if runtime is None:  # Celery tells it of a success only
        runtime = perf_counter() - began
    if not failed:
        return 0, tuple(Report("succeeded", runtime, verdict.result, representation=str(returned))), runtime
    report = _report(returned, verdict)
    return 1, tuple(report._replace(runtime=runtime)), runtime


def _queue(request: dict[str, Any]) -> str:
    info = request.get("delivery_info") or {}
    return info.get("queue") or jobs.history(request).get("queue") or info.get("routing_key") or ""


def exception_of(einfo: ExceptionInfo) -> BaseException:
    """The exception in Celery's exception info: billiard wraps it to carry its traceback."""
    return getattr(einfo.exception, "exc", None) or einfo.exception


def failure_of(einfo: ExceptionInfo) -> Failure:
    """The failure that Celery's exception info describes."""
    return Failure.of(exception_of(einfo), str(einfo.traceback or ""))


def _report(einfo: ExceptionInfo, verdict: Verdict) -> Report:
    exc = exception_of(einfo)
    if isinstance(exc, Reject):
        return Report("rejected", failure=failure_of(einfo), requeue=bool(exc.requeue))
    if isinstance(exc, Ignore):
        return Report("ignored")
    return Report(
        "failed",
        failure=verdict.failure or failure_of(einfo),
        decision=verdict.decision,
        body=verdict.body,
        options=verdict.options,
    )
