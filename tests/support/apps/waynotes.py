"""What the jobs of ``waysapp.py`` and their worker note, as JSON lines; ``WATCHED`` names what watches the worker.

That is ``signals`` (receivers of those that Celery's tracer sends), ``sentry``, ``otel`` (Celery's instrumentation) or
``spans`` (our own).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from typing import Any

import celery
from celery import signals
from flask import current_app, g, has_app_context

from flask_nightshift import Nightshift
from flask_nightshift.domain.context import current_job
from flask_nightshift.worker import attempt, short_way
from flask_nightshift.worker.pools import wire

jobs = Nightshift()


def note(key: str, what: str, **seen: Any) -> None:
    """Write a line to the ledger; short appends of several processes do not interleave."""
    line = json.dumps([os.environ.get("WAY", "web"), key, what, seen], default=_plain)
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(line + "\n")


def _plain(value: Any) -> Any:
    known = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return dataclasses.asdict(value) if known else repr(value)


def key_of(job: Any) -> str:
    """The scenario of a job, given by its request or body: each has it as its first argument."""
    args = job[0] if isinstance(job, (list, tuple)) else job.args
    return str(args[0]) if args else "none"


def seen_by(task: Any) -> dict[str, Any]:
    """What a body can see of its job."""
    request, job = task.request, current_job.get()
    return {
        "request": dict(vars(request)),
        "order": list(vars(request)),
        "current": celery.current_task.name if celery.current_task else None,
        "same_request": celery.current_task.request is request,
        "worker_task": celery._state.get_current_worker_task().name,
        "depth": [len(task.request_stack), len(celery._state._task_stack)],
        "celery": celery.current_app.main,
        "app": current_app.name if has_app_context() else None,
        "g": sorted(vars(g)),
        "job": job and job._replace(enqueued_at=None),
        "children": [str(child) for child in request.children or ()],
    }


# -- what the worker notes of each job ---------------------------------------------------------------------


def _instrument() -> None:
    run, short = attempt.run, short_way.run

    def noted_run(task: str, uuid: str, request: dict[str, Any], *rest: Any, **options: Any) -> Any:
        key = key_of(rest[0])
        ended: Any = None
        try:
            ended = run(task, uuid, request, *rest, **options)
        except BaseException as exc:
            note(key, "raised", task=task, error=repr(exc))
            raise
        else:
            report = dict(zip(attempt.Report._fields, ended[1], strict=True))
            note(key, "report", task=task, failed=ended[0], report=report)
        finally:
            depth = [len(celery._state._task_stack), len(jobs.celery.tasks[task].request_stack)]
            note(key, "after", task=task, depth=depth, job=current_job.get(), context=has_app_context())
        return ended

    def noted_short(task: Any, request: dict[str, Any], *rest: Any) -> Any:
        note(key_of(rest[0]), "way")
        return short(task, request, *rest)

    noted_run.__qualname__, noted_run.__module__ = run.__qualname__, run.__module__  # it is pickled by name
    attempt.run = wire.run = noted_run  # type: ignore[attr-defined]
    short_way.run = noted_short  # type: ignore[assignment]


_instrument()


@signals.task_failure.connect
def failed(sender: Any, task_id: str, exception: Any, args: Any, kwargs: Any, **rest: Any) -> None:
    depth, context = len(sender.request_stack), has_app_context()
    note(key_of(sender.request), "task_failure", error=repr(exception), args=args, kwargs=kwargs,
         traceback=str(rest["einfo"].traceback), depth=depth, context=context)  # fmt: skip


@signals.task_retry.connect
def retried(sender: Any, request: Any, reason: Any, einfo: Any, **_: Any) -> None:
    note(key_of(request), "task_retry", reason=repr(reason), traceback=str(einfo.traceback))


@signals.task_internal_error.connect
def broke(sender: Any, exception: Any, request: Any, **_: Any) -> None:
    note(str(request["args"][0]), "task_internal_error", error=repr(exception))


def watch_signals() -> None:
    """Receivers of the signals that the tracer sends to each job."""

    def receiver(sender: Any, signal: Any, **told: Any) -> None:
        heard = {name: told[name] for name in ("state", "retval", "result", "args", "kwargs") if name in told}
        note(key_of(sender.request), signal.name, **heard, depth=len(sender.request_stack))

    for signal in (signals.task_prerun, signals.task_postrun, signals.task_success):
        signal.connect(receiver, weak=False)


def watch_with_sentry() -> None:
    """Sentry, with events and transactions."""
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.transport import Transport

    class Written(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                if item.payload.json and "celery-job" in item.payload.json.get("extra", {}):
                    told = item.payload.json
                    errors = [each["type"] for each in told.get("exception", {}).get("values", ())]
                    job = told["extra"]["celery-job"]
                    trace, spans = told["contexts"]["trace"], told.get("spans", ())
                    queued = [each["op"] for each in spans if each["op"].startswith("queue")]
                    note(job["args"][0], "sentry", type=item.type, errors=errors, job=job, op=trace.get("op"),
                         status=trace.get("status"), queued=queued)  # fmt: skip

    sentry_sdk.init("https://key@sentry.invalid/1", transport=Written, traces_sample_rate=1.0, send_default_pii=True,
                    integrations=[CeleryIntegration()])  # fmt: skip


def watch_with_opentelemetry() -> None:
    """OpenTelemetry, with a span for each attempt."""
    from opentelemetry import trace
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    class Written(SpanExporter):
        def export(self, spans: Any) -> Any:
            for span in spans:
                events, attributes = [event.name for event in span.events], sorted(span.attributes or ())
                status = span.status.status_code.name
                note(
                    "otel",
                    span.name,
                    kind=span.kind.name,
                    status=status,
                    events=events,
                    attributes=attributes,
                )
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Written()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]


def watch_with_spans(app: Any) -> None:
    """Our own spans."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    from flask_nightshift import otel

    class Written(SpanExporter):
        def export(self, spans: Any) -> Any:
            for span in spans:
                told = dict(span.attributes or {})
                events = [{"name": event.name, **(event.attributes or {})} for event in span.events]
                note("spans", span.name, kind=span.kind.name, status=span.status.status_code.name, events=events,
                     attributes=told, links=len(span.links), root=span.parent is None)  # fmt: skip
            return SpanExportResult.SUCCESS

    def providers() -> otel.Providers:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(Written()))
        return otel.Providers(provider)

    otel.instrument(app, providers=providers)


WATCHERS = {"signals": watch_signals, "sentry": watch_with_sentry, "otel": watch_with_opentelemetry}
if os.environ.get("WATCHED") in WATCHERS and "worker" in sys.argv:
    WATCHERS[os.environ["WATCHED"]]()


class Noted(logging.Handler):
    """Notes what a formatter of Celery's adds to a record."""

    def emit(self, record: logging.LogRecord) -> None:
        task = celery.current_task
        request = task.request if task else None
        key = key_of(request) if request else "no job"
        error = repr(record.exc_info[1]) if record.exc_info else None
        note(key, "log", logger=record.name, level=record.levelname, text=record.getMessage(), error=error,
             task=task.name if task else None)  # fmt: skip
