"""Flask-Nightshift as users run it: a Flask app with the extension, ``flask jobs worker``, history in SQLite."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache

from flask import Flask

from flask_nightshift import Nightshift

from .. import jobs
from . import BASE, TRACED
from .base import MEASURES, PROCESSES, RABBITMQ, REDIS, SHORT, THREADS, USUAL, Peer

CONFIGURED = "BENCH_CONFIGURED"
"""Whether the app sets ``MULTIPLIER``; otherwise it sets nothing but the broker's URL."""
REPORTS = "BENCH_REPORTS"
"""Whether the app reports to OpenTelemetry."""
MULTIPLIER = 16
"""The prefetch multiplier for short jobs in docs/performance.md."""

nightshift = Nightshift()
tasks = {name: nightshift.task(name=f"bench.{name}")(getattr(jobs, name)) for name in jobs.NAMES}


def create_app() -> Flask:
    """The app, for workers (``flask --app``) and for the process that enqueues."""
    app = Flask("bench", instance_path=os.environ["BENCH_HOME"])
    app.config["NIGHTSHIFT_BROKER_URL"] = jobs.broker_url()
    if os.environ.get(CONFIGURED):
        app.config["NIGHTSHIFT_CELERY"] = {"worker_prefetch_multiplier": MULTIPLIER}
    nightshift.init_app(app)
    if os.environ.get(REPORTS):
        _report(app)
    return app


def _report(app: Flask) -> None:
    """Spans as in production, which go nowhere."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    from flask_nightshift import otel

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[object]) -> SpanExportResult:  # noqa: ARG002
            return SpanExportResult.SUCCESS

    def providers() -> otel.Providers:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        return otel.Providers(provider)

    otel.instrument(app, providers=providers)


@cache
def made_app() -> Flask:
    """The app of the process that enqueues."""
    return create_app()


class NightshiftPeer(Peer):
    """``flask jobs worker`` with nothing configured."""

    distributions = ("Flask-Nightshift", "celery", "kombu", "redis")
    bulk = "`task.enqueue_many([...])`"
    name = "nightshift-default"
    servers: tuple[str, ...] = REDIS + RABBITMQ
    parallel = PROCESSES
    measures = frozenset(MEASURES)
    how = (
        f"`flask jobs worker -c {PROCESSES} -l WARNING`; Flask app with the extension, history in SQLite; nothing is "
        "configured but the broker's URL"
    )

    def commands(self) -> list[list[str]]:
        return [[*_flask(), "worker", "-c", str(PROCESSES), "-l", "WARNING"]]

    def preparations(self) -> list[list[str]]:
        return [[*_flask(), "migrate"]]

    def environment(self, home: str) -> Mapping[str, str]:
        return {"BENCH_HOME": home}

    def enqueue(self, job: str, argument: int) -> None:
        made_app()
        tasks[job].delay(argument)

    def enqueue_each(self, job: str, arguments: Sequence[int]) -> None:
        made_app()
        delay = tasks[job].delay
        for argument in arguments:
            delay(argument)

    def enqueue_many(self, job: str, arguments: Sequence[int]) -> None:
        made_app()
        tasks[job].enqueue_many((argument,) for argument in arguments)


class PoolPeer(NightshiftPeer):
    """One pool of ``flask jobs worker``, with a prefetch multiplier."""

    def __init__(
        self, pool: str, workers: int, concurrency: int, measures: frozenset[str], log_level: str = "WARNING"
    ) -> None:
        self.name = f"nightshift-{pool}" + ("-logged" if log_level == "INFO" else "")
        self.servers = REDIS if log_level == "INFO" else REDIS + RABBITMQ
        self.measures = measures
        self.pool, self.workers, self.concurrency, self.log_level = pool, workers, concurrency, log_level
        self.parallel = workers * concurrency
        self.how = (
            f"{workers} of `flask jobs worker --pool {pool} -c {concurrency} -l {log_level}`; as nightshift-default, "
            f"and `worker_prefetch_multiplier={MULTIPLIER}`"
        )

    def commands(self) -> list[list[str]]:
        words = ["--pool", self.pool, "-c", str(self.concurrency), "-l", self.log_level]
        return [[*_flask(), "worker", *words, "-n", f"w{number}@bench"] for number in range(self.workers)]

    def environment(self, home: str) -> Mapping[str, str]:
        return {"BENCH_HOME": home, CONFIGURED: "1"}


class BasePeer(NightshiftPeer):
    """The same with the source of another commit."""

    name = BASE
    measures = frozenset({"enqueue", "drain", "many"})
    how = "as nightshift-default, with the source of the commit `BASE`"

    def environment(self, home: str) -> Mapping[str, str]:
        from .. import commits  # not in the workers, whose memory is measured
        from ..processes import ROOT

        return {"BENCH_HOME": home, "PYTHONPATH": f"{os.environ.get(commits.SOURCE, '')}{os.pathsep}{ROOT}"}


class TracedPeer(NightshiftPeer):
    """The same with ``otel.instrument()``."""

    name = TRACED
    measures = frozenset({"enqueue", "drain"})
    how = "as nightshift-default, with `otel.instrument(app)` and a `BatchSpanProcessor` whose exporter drops the spans"

    def environment(self, home: str) -> Mapping[str, str]:
        return {"BENCH_HOME": home, REPORTS: "1"}


def _flask() -> list[str]:
    return ["flask", "--app", __name__, "jobs"]


PEERS: list[Peer] = [
    NightshiftPeer(),
    BasePeer(),
    TracedPeer(),
    PoolPeer("prefork", 1, PROCESSES, frozenset({"drain", "io"})),
    PoolPeer("threads", PROCESSES, THREADS, USUAL - {"enqueue"}),
    PoolPeer("solo", PROCESSES, 1, SHORT - {"enqueue"}),
    PoolPeer("prefork", 1, PROCESSES, frozenset({"drain"}), log_level="INFO"),
]
