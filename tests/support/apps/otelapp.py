"""An app that reports to OpenTelemetry. Each process writes its spans and metrics to the file ``SPANS``, as JSON lines.

``OTEL_MODE`` is the mode of ``otel.instrument``; ``OTEL_WHERE`` says where providers are made: ``child`` (in each
process that reports), or ``global`` (before the worker forks).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from typing import Any

from celery import chain, chord
from flask import Flask
from opentelemetry import baggage, context, metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from flask_nightshift import Nightshift, otel

jobs = Nightshift()
FAST = {"retry_backoff": 0.1, "retry_backoff_max": 0.2, "retry_jitter": False}


def write(line: dict[str, Any]) -> None:
    """Add a line; short appends of several processes do not interleave."""
    with open(os.environ["SPANS"], "a", encoding="utf-8") as spans:
        spans.write(json.dumps({**line, "pid": os.getpid(), "role": os.environ.get("ROLE", "web")}) + "\n")


class FileSpans(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            write(_span(span))
        return SpanExportResult.SUCCESS


class FileMetrics(MetricExporter):
    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = getattr(point, "value", None) or getattr(point, "count", None)
                        told = {"metric": metric.name, "unit": metric.unit, "value": value}
                        write({**told, "attributes": dict(point.attributes or {})})
        return MetricExportResult.SUCCESS

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None: ...

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True


def _span(span: ReadableSpan) -> dict[str, Any]:
    events = [{"name": each.name, **dict(each.attributes or {})} for each in span.events]
    assert span.context is not None
    return {
        "span": span.name,
        "kind": span.kind.name,
        "start": span.start_time,
        "id": span.context.span_id,
        "trace": span.context.trace_id,
        "parent": span.parent.span_id if span.parent else None,
        "links": [each.context.span_id for each in span.links],
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "events": events,
    }


def providers() -> otel.Providers:
    """Providers with threads of their own, which no fork copies."""
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(FileSpans(), schedule_delay_millis=600_000))
    reader = PeriodicExportingMetricReader(FileMetrics(), export_interval_millis=600_000)
    write({"made": True})
    return otel.Providers(tracer_provider, MeterProvider([reader]))


@jobs.task(name="add")
def add(marker: str) -> None:
    done(marker)


@jobs.task(name="flaky", max_retries=3, **FAST)
def flaky(marker: str, failures: int) -> None:
    if seen(marker) < failures:
        done(marker)
        raise ConnectionError(f"the partner of {marker} is down")
    done(f"{marker} at last")


@jobs.task(name="fails", max_retries=0)
def fails(marker: str) -> None:
    done(marker)
    if not os.path.exists(os.environ["LEDGER"] + ".repaired"):
        raise LookupError("no such thing")


@jobs.task(name="killed", max_retries=0)
def killed(marker: str) -> None:
    done(marker)
    os.kill(os.getpid(), signal.SIGKILL)


@jobs.task(name="enqueues")
def enqueues(marker: str) -> None:
    with trace.get_tracer("body").start_as_current_span("within"):
        add.delay(f"{marker} inner")
    done(f"{marker} {baggage.get_baggage('customer')}")


@jobs.task(name="part", ignore_result=False)
def part(marker: str) -> str:
    done(marker)
    return marker


@jobs.task(name="body", ignore_result=False)
def body(_: Any, marker: str) -> None:
    done(marker)


def done(marker: str) -> None:
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker}\n")


def seen(marker: str) -> int:
    with open(os.environ["LEDGER"], encoding="utf-8") as ledger:
        return sum(line.strip() == marker for line in ledger)


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    if os.environ.get("WITH_SCHEDULE"):
        app.config["NIGHTSHIFT_SCHEDULE"] = {"often": {"task": "add", "schedule": 0.5, "args": ["tick"]}}
    jobs.init_app(app)
    if os.environ.get("OTEL_WHERE") == "global":
        made = providers()
        trace.set_tracer_provider(made.tracer_provider or trace.NoOpTracerProvider())
        metrics.set_meter_provider(made.meter_provider or metrics.NoOpMeterProvider())
        otel.instrument(app, mode=os.environ.get("OTEL_MODE", "parent"))
    else:
        otel.instrument(app, mode=os.environ.get("OTEL_MODE", "parent"), providers=providers)
    return app


def main(scenarios: list[str]) -> dict[str, Any]:
    """Enqueue the jobs of each scenario, each under a span of its own; the ids of the jobs."""
    app, made = create_app(), {}
    tracing: Any = jobs_tracing(app)
    for name in scenarios:
        tracer = tracing.instruments().providers.tracer_provider or trace.get_tracer_provider()
        with app.app_context(), tracer.get_tracer("web").start_as_current_span(f"request {name}"):
            made[name] = SCENARIOS[name]()
    jobs.close(app)
    otel.uninstrument(app)
    return made


def jobs_tracing(app: Flask) -> Any:
    return app.extensions["nightshift"].tracing


def _within() -> list[str]:
    token = context.attach(baggage.set_baggage("customer", "4711"))
    try:
        return [enqueues.delay("within").id]
    finally:
        context.detach(token)


def _on_commit() -> list[str]:
    engine = create_engine(f"sqlite:///{os.environ['INSTANCE']}/nightshift.sqlite3")
    with Session(engine) as session:
        made = [add.apply_async_on_commit(("committed",), session=session).id]
        session.commit()
        rolled_back = add.apply_async_on_commit(("rolled back",), session=session).id
        session.rollback()
    engine.dispose()
    return [*made, rolled_back]


def _relayed() -> list[str]:
    """As if the process died between commit and publish: the row stays, for a relay."""
    from flask_nightshift.outbox.publishing import Publishing

    publish = Publishing.publish
    Publishing.publish = lambda self, *_, **__: (_ for _ in ()).throw(SystemExit)  # type: ignore[method-assign]
    try:
        engine = create_engine(f"sqlite:///{os.environ['INSTANCE']}/nightshift.sqlite3")
        with Session(engine) as session:
            made = [add.apply_async_on_commit(("relayed",), session=session).id]
            with contextlib.suppress(SystemExit):
                session.commit()
        return made
    finally:
        Publishing.publish = publish  # type: ignore[method-assign]


SCENARIOS: dict[str, Any] = {
    "plain": lambda: [add.delay("plain").id],
    "flaky": lambda: [flaky.delay("flaky", 2).id],
    "fails": lambda: [fails.apply_async(("fails",), link_error=add.si("errback of one")).id],
    "killed": lambda: [killed.apply_async(("killed",), link_error=add.si("errback of another")).id],
    "many": lambda: add.enqueue_many([("many",)] * 3),
    "celerys": lambda: [jobs.celery.send_task("add", ("celerys",), exchange="", routing_key="celery").id],
    "chain": lambda: [each.id for each in _ids(chain(add.si("first"), add.si("second")).apply_async())],
    "chord": lambda: [chord([part.s("one"), part.s("two")])(body.s("together")).id],
    "within": _within,
    "on_commit": _on_commit,
    "relayed": _relayed,
}


def _ids(result: Any) -> list[Any]:
    found = []
    while result is not None:
        found.append(result)
        result = result.parent
    return found[::-1]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
