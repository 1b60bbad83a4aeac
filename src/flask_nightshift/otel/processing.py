"""Spans of workers: ``process``, one for each attempt, in the process in which the body runs.

Each attempt of a job has the same parent, the span that created its message, because a retry carries on the headers.
The body and what Celery's tracer does after it (the next job of a chain, the body of a chord) run within the span.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind

from ..domain.job import Failure, utcnow
from ..domain.retry import RetryAt, decide
from ..message.headers import retries
from ..store.ledger import CANCELLED
from ..task.base import policy_of
from ..worker.attempt import Ended, Report, queue_of, task_of
from . import convention as names
from .sending import about
from .tracing import Instruments, Tracing, context_of, failed, harmless, links_to

LOST = "lost"
"""The outcome of an attempt that was broken off, so that it could not report how it ended."""


def traced(
    run: Callable[..., Ended], task: str, uuid: str, request: dict[str, Any], *rest: Any, **options: Any
) -> Ended:
    """``run``, an attempt, within a span if its app is instrumented."""
    services = getattr(task_of(task), "nightshift", None)
    tracing: Tracing | None = services.tracing if services is not None else None
    made = tracing.instruments() if tracing is not None else None
    if tracing is None or made is None:
        return run(task, uuid, request, *rest, **options, traced=True)
    return _run(tracing, made, lambda: run(task, uuid, request, *rest, **options, traced=True), request)


def _run(
    tracing: Tracing, made: Instruments, attempt: Callable[[], Ended], request: Mapping[str, Any]
) -> Ended:
    queue, token = queue_of(request), None
    span: Span = trace.INVALID_SPAN
    with harmless():
        span, around = _started(tracing, made, request, queue, str(request.get("hostname") or ""))
        token = context.attach(around)
    if token is None:
        return attempt()
    began = time_ns()
    ended: Ended | None = None
    failure: Failure | None = None
    try:
        ended = attempt()
        return ended
    except BaseException as exc:
        failure = Failure.of(exc)
        raise
    finally:
        with harmless():
            context.detach(token)
            if ended is None:
                span.set_attribute(names.OUTCOME, LOST)
            else:
                report = Report(*ended[1])
                span.set_attribute(names.OUTCOME, outcome_of(report, request))
                failure = (report.failure or Failure("unknown")) if report.kind == "failed" else None
            _end(tracing, made, span, queue, (time_ns() - began) / 1e9, failure)


def lost(
    tracing: Tracing,
    request: Mapping[str, Any],
    queue: str,
    began: float | None,
    worker: str,
    failure: Failure,
) -> None:
    """The span of an attempt whose process was killed; ``began`` is in seconds since 1970."""
    made = tracing.instruments()
    if made is None:
        return
    start = time_ns() if began is None else int(began * 1e9)
    span, _ = _started(tracing, made, request, queue, worker, start)
    span.set_attribute(names.OUTCOME, LOST)
    _end(tracing, made, span, queue, max(0.0, (time_ns() - start) / 1e9), failure)


def following(headers: Mapping[str, Any], call: Callable[[], None]) -> Callable[[], None]:
    """``call``, which enqueues what follows a job whose attempt cannot do so, within the context of its message."""

    def within() -> None:
        token = None
        with harmless():
            token = context.attach(context_of(headers))
        try:
            call()
        finally:
            if token is not None:
                with harmless():
                    context.detach(token)

    return within


def _started(
    tracing: Tracing,
    made: Instruments,
    request: Mapping[str, Any],
    queue: str,
    worker: str,
    start: int | None = None,
) -> tuple[Span, context.Context]:
    """The span of an attempt, and the context for what runs within it."""
    around = context_of(request)
    links = links_to([request])
    if tracing.links:
        around = trace.set_span_in_context(trace.INVALID_SPAN, around)  # only the baggage stays
    told = tracing.place.of(queue, names.PROCESS) | about(request)
    told |= tracing.place.routed_by((request.get("delivery_info") or {}).get("routing_key") or "")
    told[names.ATTEMPT] = retries(request) + 1
    if worker:
        told[names.CLIENT_ID] = worker
    span = made.tracer.start_span(
        f"{names.PROCESS} {queue}", around, SpanKind.CONSUMER, told, links, start_time=start
    )
    return span, trace.set_span_in_context(span, around)


def _end(
    tracing: Tracing, made: Instruments, span: Span, queue: str, seconds: float, failure: Failure | None
) -> None:
    told = tracing.place.of(queue, names.PROCESS)
    del told[names.OPERATION_TYPE]
    if failure is not None:
        failed(span, failure)
        told[names.ERROR_TYPE] = failure.error
    made.consumed.add(1, told)
    made.process.record(seconds, told)
    span.end()


def outcome_of(report: Report, request: Mapping[str, Any]) -> str:
    """How an attempt ended, in a word: ``succeeded``, ``skipped``, ``retried``, ``dead``, ``cancelled``, …

    A failed report without a decision leaves it to the worker's main process, which decides by the task's policy.
    """
    if report.kind == "failed":
        decision = report.decision or decide(
            policy_of(task_of(str(request.get("task")))),
            retriable=True,
            retries=retries(request),
            now=utcnow(),
            rng=lambda: 0.0,
        )
        return "retried" if isinstance(decision, RetryAt) else "dead"
    if report.kind == "superseded" and report.skipped is not None and report.skipped[0] == CANCELLED:
        return "cancelled"
    return "skipped" if report.skipped is not None else report.kind


__all__ = ["following", "lost", "outcome_of", "traced"]
