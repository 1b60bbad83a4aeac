"""Switching traces on: the convention's names, what is refused, and what an app pays that does not switch them on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Task
from flask import Flask
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv._incubating.metrics import messaging_metrics
from opentelemetry.semconv.attributes import error_attributes, exception_attributes, server_attributes

from flask_nightshift import BrokerUnavailable, ConfigurationError, Nightshift, otel
from flask_nightshift.otel import convention
from flask_nightshift.testing import in_memory
from places import python_path
from servers import Server

CONVENTIONS = (
    messaging_attributes,
    messaging_metrics,
    error_attributes,
    exception_attributes,
    server_attributes,
)


class Site:
    """An app with exporters in memory."""

    def __init__(self, folder: Path, broker_url: str) -> None:
        self.spans = InMemorySpanExporter()
        self.metrics = InMemoryMetricReader()
        self.jobs = Nightshift()
        self.app = Flask(__name__, instance_path=str(folder))
        self.app.config["NIGHTSHIFT_BROKER_URL"] = broker_url
        self.jobs.init_app(self.app)
        self.add = self.jobs.task(_nothing, name="add")
        self.fails = self.jobs.task(_fails, name="fails", max_retries=1)
        self._tracers, self._meters = TracerProvider(), MeterProvider([self.metrics])
        self._tracers.add_span_processor(SimpleSpanProcessor(self.spans))

    def instrument(self, **options: Any) -> None:
        made = otel.Providers(self._tracers, self._meters)
        otel.instrument(self.app, providers=lambda: made, **options)

    def names(self) -> list[str]:
        found = [span.name for span in self.spans.get_finished_spans()]
        self.spans.clear()
        return found


def _nothing() -> None:
    pass


def _fails() -> None:
    raise LookupError("no such thing")


@pytest.fixture
def site(tmp_path: Path, valkey: Server) -> Iterator[Site]:
    made = Site(tmp_path, valkey.fresh_url())
    yield made
    CeleryInstrumentor().uninstrument()  # type: ignore[no-untyped-call]
    otel.uninstrument(made.app)
    made.jobs.close()


def test_names_are_those_of_the_conventions() -> None:
    known = {value for module in CONVENTIONS for value in vars(module).values() if isinstance(value, str)}
    used = {
        value
        for name in convention.__all__
        if isinstance(value := getattr(convention, name), str)
        and "." in value
        and not value.startswith("nightshift.")
    }
    assert len(used) > 15
    assert used <= known
    operations = {each.value for each in messaging_attributes.MessagingOperationTypeValues}
    assert {convention.CREATE, convention.SEND, convention.PROCESS} <= operations


@pytest.mark.parametrize(
    ("url", "attributes"),
    [
        ("redis://:secret@cache:6380/2", ("redis", "cache", 6380)),
        ("sentinel://one:26379;sentinel://two:26379", ("redis", "one", 26379)),
        ("sentinel://:secret@one;sentinel://:secret@two:26379", ("redis", "one", None)),
        ("redis+cluster://user:secret@node-a:6379,node-b:6380", ("redis", "node-a", 6379)),
        ("redis+cluster://a,b:6380?ssl_cert_reqs=required", ("redis", "a", 6379)),
        ("rediss+cluster://:secret@[2001:db8::1]:7000,[2001:db8::2]:7000/0", ("redis", "2001:db8::1", 7000)),
        ("rediss://:secret@[2001:db8::1]:6380/2?ssl_cert_reqs=none", ("redis", "2001:db8::1", 6380)),
        ("redis+socket:///run/redis.sock", ("redis", "/run/redis.sock", None)),
        ("redis+socket://:secret[x@/run/redis.sock?virtual_host=2", ("redis", "/run/redis.sock", None)),
        ("amqps://user:secret@rabbit/shop", ("rabbitmq", "rabbit", None)),
        ("amqp://a//;amqp://user:secret@b:5673//", ("rabbitmq", "a", None)),
        ("pyamqp://user:secret@a:5671/shop;pyamqp://b/shop", ("rabbitmq", "a", 5671)),
        ("embedded://", ("redis", None, None)),
    ],
)
def test_the_place_follows_from_the_url(url: str, attributes: tuple[Any, ...]) -> None:
    found = convention.place(url).attributes
    told = [found.get(name) for name in ("messaging.system", "server.address", "server.port")]
    assert told == list(attributes)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    "url", ["redis+cluster://u:p@127.0.0.1:1,127.0.0.1:2", "amqp://127.0.0.1:1//;amqp://127.0.0.1:2//"]
)
def test_an_app_with_several_servers_is_instrumented(tmp_path: Path, url: str) -> None:
    made = Site(tmp_path, url)
    made.instrument()
    otel.uninstrument(made.app)
    made.jobs.close()


def test_it_is_refused_beside_the_contrib_instrumentation(site: Site) -> None:
    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
    with pytest.raises(ConfigurationError, match="OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=celery"):
        site.instrument()


def test_it_steps_aside_if_the_contrib_instrumentation_comes_later(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.instrument()
    with site.app.app_context():
        site.add.delay()
        assert site.names() == ["send celery"]
        CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
        for _ in range(2):
            site.add.delay()
            site.add.enqueue_many([()] * 2)
        assert site.names() == []
        refusals = [record for record in caplog.records if record.message.startswith("otel.refused")]
        assert len(refusals) == 1
        CeleryInstrumentor().uninstrument()  # type: ignore[no-untyped-call]
        site.add.delay()
        assert site.names() == ["send celery"]


def test_wrong_calls(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="'parent' or 'messaging'"):
        site.instrument(mode="links")
    with pytest.raises(RuntimeError, match="not initialised"):
        otel.instrument(Flask("other"))
    site.instrument()
    with pytest.raises(RuntimeError, match="twice"):
        site.instrument()


def test_a_send_that_fails_says_why(tmp_path: Path) -> None:
    made = Site(tmp_path, "redis://127.0.0.1:1/0")
    made.instrument()
    try:
        with made.app.app_context(), pytest.raises(BrokerUnavailable):
            made.add.delay()
        (span,) = made.spans.get_finished_spans()
        assert span.status.status_code.name == "ERROR"
        assert span.attributes is not None
        assert span.attributes["error.type"] == "flask_nightshift.errors.BrokerUnavailable"
        data: Any = made.metrics.get_metrics_data()
        (sent,) = [
            metric
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
            if metric.name == "messaging.client.sent.messages"
        ]
        (point,) = sent.data.data_points
        assert (point.value, point.attributes["error.type"]) == (1, span.attributes["error.type"])
    finally:
        otel.uninstrument(made.app)


def test_a_duplicate_is_not_counted_as_sent(site: Site) -> None:
    once = site.jobs.task(_nothing, name="once", unique="until_done", on_duplicate="skip")
    site.instrument()
    with site.app.app_context():
        once.delay()
        once.delay()
    data: Any = site.metrics.get_metrics_data()
    (sent,) = [
        metric
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "messaging.client.sent.messages"
    ]
    assert sum(point.value for point in sent.data.data_points) == 1


def test_it_works_in_the_test_kit(site: Site) -> None:
    site.instrument()
    with in_memory(site.app) as kit, site.app.app_context():
        site.fails.delay()
        kit.drain(raise_errors=False)
        kit.travel(minutes=30)
        kit.drain(raise_errors=False)
    spans = site.spans.get_finished_spans()
    assert [span.name for span in spans] == ["send celery", "process celery", "process celery"]
    assert [(span.attributes or {}).get("nightshift.outcome") for span in spans] == [None, "retried", "dead"]
    assert {span.parent.span_id for span in spans[1:] if span.parent} == {spans[0].context.span_id}


def test_the_outcome_is_what_becomes_of_a_job_whose_next_one_could_not_be_enqueued(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flask_nightshift.app.amqp.FOLLOWS_WITHIN", 0.0)

    class NotEnqueued(Task):
        def apply_async(self, *args: Any, **options: Any) -> Any:
            raise BrokerUnavailable("the broker went away")

    following = site.jobs.task(_nothing, name="following", base=NotEnqueued)
    steps = site.jobs.task(_nothing, name="steps", max_retries=1)
    site.instrument()
    with in_memory(site.app) as kit, site.app.app_context():
        steps.apply_async(link=following.si())
        ran = kit.drain(delayed=True, raise_errors=False)
    assert [each.outcome for each in ran] == ["retried", "dead"]
    spans = [span for span in site.spans.get_finished_spans() if span.name == "process celery"]
    assert [(span.attributes or {}).get("nightshift.outcome") for span in spans] == ["retried", "dead"]


@pytest.mark.rabbitmq
def test_routing_keys(tmp_path: Path, rabbitmq: Server) -> None:
    made = Site(tmp_path, rabbitmq.fresh_url())
    made.instrument()
    try:
        with made.app.app_context():
            made.add.apply_async(queue="mail.out")
            made.add.apply_async(queue="mail", countdown=600)
            made.add.apply_async(routing_key="mail", exchange="mail", exchange_type="topic")
            made.add.enqueue_many([()] * 2, queue="mail")
        sends: dict[str, list[str]] = {}
        for span in made.spans.get_finished_spans():
            key = (span.attributes or {}).get("messaging.rabbitmq.destination.routing_key")
            sends.setdefault(span.name, []).append(str(key))
        (delayed,) = [key for key in sends["send mail"] if key.endswith(".mail")]
        assert delayed.startswith("0.0.")
        assert sends == {
            "send mail.out": ["mail%2Eout"],
            "send mail": [delayed, "mail", "mail"],
            "create mail": ["mail", "mail"],
        }
        data: Any = made.metrics.get_metrics_data()
        assert "routing_key" not in str(data.to_json())
    finally:
        otel.uninstrument(made.app)
        made.jobs.close()


def test_an_app_that_does_not_switch_it_on_imports_and_calls_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, flask, flask_nightshift\n"
        "from flask_nightshift.enqueue.publisher import JobPublisher\n"
        "app = flask.Flask('shop', instance_path=sys.argv[1])\n"
        "jobs = flask_nightshift.Nightshift(app)\n"
        "import flask_nightshift.worker.main\n"
        "from flask_nightshift.worker import attempt\n"
        "assert not [name for name in sys.modules if 'nightshift.otel' in name]\n"  # redis-py imports OpenTelemetry
        "assert attempt.around is None\n"
        "with app.app_context():\n"
        "    assert type(jobs.celery.publisher) is JobPublisher\n"
        "    assert jobs.services.publishing is jobs.services.broker\n"
    )
    env = {"PYTHONPATH": python_path(), "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, check=True, timeout=60)
