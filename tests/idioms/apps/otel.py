"""An instrumented app and its worker in one process; as a script, it prints the spans of some jobs as JSON."""

import json
import os
import queue
import sys

from celery.contrib.testing.worker import start_worker
from flask import Flask
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flask_nightshift import Nightshift

exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
CeleryInstrumentor().instrument()

jobs = Nightshift()
done = queue.SimpleQueue()


@jobs.task(name="add")
def add(x: int, y: int) -> None:
    done.put(x + y)


def create_app() -> Flask:
    app = Flask(__name__, instance_path=os.environ["INSTANCE"])
    jobs.init_app(app)
    return app


def main() -> None:
    app = create_app()
    with app.app_context():
        jobs.services.store.migrate()
        with trace.get_tracer("web").start_as_current_span("request") as request:
            ids = add.enqueue_many([(n, 1) for n in range(5)])
            ids.append(add.delay(5, 1).id)
            left = trace.get_current_span() is request
    celery = app.extensions["celery"]
    with start_worker(celery, pool="solo", perform_ping_check=False, shutdown_timeout=30):
        for _ in ids:
            done.get(timeout=20)
    spans = [
        {
            "name": span.name,
            "kind": span.kind.name,
            "id": span.context.span_id,
            "trace": span.context.trace_id,
            "parent": span.parent and span.parent.span_id,
            "job": span.attributes.get("messaging.message.id") or span.attributes.get("messaging.message_id"),
        }
        for span in exporter.get_finished_spans()
    ]
    print(
        json.dumps({"ids": ids, "left": left, "spans": spans}), file=sys.__stdout__
    )  # a worker redirects the other one


if __name__ == "__main__":
    main()
