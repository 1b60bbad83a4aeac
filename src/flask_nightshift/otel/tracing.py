"""What one app reports with: a tracer and four metrics, made at their first use in each process.

A worker's jobs run in forked processes. So providers are asked for after the fork, and a provider's threads and
connections belong to the process that uses them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import Link, Span, StatusCode

from ..domain.job import Failure
from ..lifetime.process import pid
from . import convention as names

SCOPE = "flask_nightshift"
FLUSH_MS = 2000
"""Milliseconds that a process which ends waits for each of its exporters."""
TELL_SECONDS = 10.0
"""Seconds between two log lines about reports that fail."""
REMEDY = (
    "both would report each job: do not call CeleryInstrumentor().instrument(), or set "
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=celery where opentelemetry-instrument starts the process"
)

logger = logging.getLogger("flask_nightshift.otel")


class Seldom:
    """Says when it is time to tell something again: at most every ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def is_time(self) -> bool:
        """Whether it is time; then the next time is ``seconds`` from now."""
        now = monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True


_tells = Seldom(TELL_SECONDS)


@contextmanager
def harmless() -> Iterator[None]:
    """A report that fails changes nothing of what becomes of a job. The log has such an error at most every 10 s."""
    try:
        yield
    except Exception:
        if _tells.is_time():
            logger.exception("otel.not_reported")


class Providers(NamedTuple):
    """Providers of one process: a ``TracerProvider`` and a ``MeterProvider``; None is OpenTelemetry's global one."""

    tracer_provider: trace.TracerProvider | None = None
    meter_provider: metrics.MeterProvider | None = None


@dataclass(frozen=True, slots=True)
class Instruments:
    """The tracer and the metrics of one process."""

    tracer: trace.Tracer
    sent: metrics.Counter
    consumed: metrics.Counter
    operation: metrics.Histogram
    process: metrics.Histogram
    providers: Providers


class Tracing:
    """How one app reports its jobs. ``links``: a job's span begins a new trace, and links to its producer's span."""

    def __init__(self, place: names.Place, providers: Callable[[], Providers] | None, *, links: bool) -> None:
        self.place = place
        self.links = links
        self._providers = providers
        self._locks: dict[int, Lock] = {}
        self._made: tuple[int, Instruments | None] = 0, None
        self._refused = False

    def instruments(self) -> Instruments | None:
        """Those of this process; None if they cannot be made.

        None also while the contrib instrumentation of Celery is on, because it reports jobs.
        """
        with harmless():
            return self._instruments()
        return None

    def _instruments(self) -> Instruments | None:
        if is_contrib_on():
            if not self._refused:
                self._refused = True
                why = f"CeleryInstrumentor is on in this process too, so jobs are left to it; {REMEDY}"
                logger.error("otel.refused", extra={"why": why})
            return None
        mine, made = self._made
        return made if mine == pid() and made is not None else self._make()

    def _make(self) -> Instruments:
        with self._locks.setdefault(pid(), Lock()):
            mine, made = self._made
            if mine == pid() and made is not None:
                return made
            providers = Providers() if self._providers is None else Providers(*self._providers())
            made = _instruments(providers)
            self._made = pid(), made
            return made

    def flush(self) -> None:
        """Export what this process has reported; it is about to end."""
        mine, made = self._made
        if made is None or mine != pid():
            return
        for provider in (
            made.providers.tracer_provider or trace.get_tracer_provider(),
            made.providers.meter_provider or metrics.get_meter_provider(),
        ):
            flush: Any = getattr(provider, "force_flush", None)
            if flush is not None:
                with suppress(Exception):
                    flush(FLUSH_MS)


def _instruments(providers: Providers) -> Instruments:
    ours = version("Flask-Nightshift")
    tracer = trace.get_tracer(SCOPE, ours, providers.tracer_provider)
    meter = metrics.get_meter(SCOPE, ours, providers.meter_provider)

    def histogram(name: str, description: str) -> metrics.Histogram:
        return meter.create_histogram(
            name, "s", description, explicit_bucket_boundaries_advisory=names.BOUNDARIES
        )

    return Instruments(
        tracer,
        meter.create_counter(names.SENT, "{message}", "Jobs that were sent to the broker."),
        meter.create_counter(names.CONSUMED, "{message}", "Jobs that were delivered to a worker's process."),
        histogram(names.OPERATION_DURATION, "Duration of sending jobs to the broker."),
        histogram(names.PROCESS_DURATION, "Duration of the attempts of jobs."),
        providers,
    )


def is_contrib_on() -> bool:
    """Whether ``opentelemetry-instrumentation-celery`` instruments this process."""
    module: Any = sys.modules.get("opentelemetry.instrumentation.celery")
    return module is not None and bool(module.CeleryInstrumentor().is_instrumented_by_opentelemetry)


def carried(headers: Mapping[str, Any]) -> dict[str, str]:
    """The context that a message carries: those of its ``headers`` that the propagator reads."""
    return {
        name: value
        for name in propagate.get_global_textmap().fields
        if isinstance(value := headers.get(name), str)
    }


def context_of(headers: Mapping[str, Any]) -> context.Context:
    """The context that a message carries, and nothing of the context around."""
    return propagate.extract(carried(headers), context.Context())


def links_to(headers: Sequence[Mapping[str, Any]]) -> list[Link]:
    """Links to the spans that created the messages with these headers."""
    found = (trace.get_current_span(context_of(each)).get_span_context() for each in headers)
    return [Link(each) for each in found if each.is_valid]


def injected(span: Span) -> dict[str, str]:
    """The headers that carry ``span`` and the baggage around."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return carrier


def failed(span: Span, failure: Failure) -> None:
    """Note a failure on ``span``."""
    span.set_attribute(names.ERROR_TYPE, failure.error)
    span.set_status(StatusCode.ERROR, failure.message)
    told = {names.EXCEPTION_TYPE: failure.error, names.EXCEPTION_MESSAGE: failure.message}
    if failure.traceback:
        told[names.EXCEPTION_STACKTRACE] = failure.traceback
    span.add_event(names.EXCEPTION, told)


@contextmanager
def current(span: Span) -> Iterator[None]:
    """Within the block, ``span`` is the current one; it does not end with it."""
    with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
        yield


__all__ = [
    "Instruments",
    "Providers",
    "Seldom",
    "Tracing",
    "carried",
    "context_of",
    "current",
    "failed",
    "harmless",
    "injected",
    "is_contrib_on",
    "links_to",
]
