"""Switches the reports of an app on and off."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from celery import signals
from flask import Flask

from ..brokers.base import Broker
from ..domain.job import Failure
from ..enqueue.publisher import JobPublisher
from ..errors import ConfigurationError
from ..services import current
from ..worker import attempt
from .convention import place
from .processing import following, lost, traced
from .sending import TracedBroker, TracedPublisher
from .tracing import REMEDY, Providers, Tracing, is_contrib_on

PARENT, MESSAGING = "parent", "messaging"
_switched_on: weakref.WeakSet[Tracing] = weakref.WeakSet()


class _Reports(Tracing):
    """What the services of an app ask for reports."""

    def broker(self, broker: Broker) -> Broker:
        """``broker``, with a span for each publish."""
        made: Any = TracedBroker(broker, self)
        return made

    def lost(
        self, request: Mapping[str, Any], queue: str, began: float | None, worker: str, failure: Failure
    ) -> None:
        """Report an attempt whose process was killed, so that it could not report itself."""
        lost(self, request, queue, began, worker, failure)

    def following(self, headers: Mapping[str, Any], call: Callable[[], None]) -> Callable[[], None]:
        """``call``, within the context that a message with ``headers`` carries."""
        return following(headers, call)


def instrument(app: Flask, *, mode: str = PARENT, providers: Callable[[], Providers] | None = None) -> None:
    """Report the jobs of ``app`` to OpenTelemetry, as spans and metrics; call it after ``jobs.init_app(app)``.

    ``mode``: with ``"parent"``, the span of an attempt is a child of the span that created its job, so a request and
    its jobs are one trace. With ``"messaging"`` it begins a trace of its own, and links to that span.

    ``providers`` is called in each process that reports, at its first report, so in a worker after the fork; it returns
    the ``Providers`` of that process. By default they are OpenTelemetry's global ones.

    Raises ``ConfigurationError`` for another mode, or if ``opentelemetry-instrumentation-celery`` is on in this
    process, and ``RuntimeError`` if ``app`` is instrumented, or has no Nightshift.
    """
    if mode not in (PARENT, MESSAGING):
        raise ConfigurationError("otel.instrument(mode)", mode, f"give {PARENT!r} or {MESSAGING!r}")
    services = current(app)
    if services.tracing is not None:
        raise RuntimeError(f"otel.instrument() was called twice for the Flask app {app.name!r}.")
    if is_contrib_on():
        raise ConfigurationError("otel.instrument(app)", app.name, f"CeleryInstrumentor is on; {REMEDY}")
    tracing = _Reports(place(services.settings.broker_url), providers, links=mode == MESSAGING)
    _switched_on.add(tracing)
    services.tracing = tracing
    services.celery.publisher_kind = TracedPublisher
    services.celery.clear_derived_settings()
    attempt.around = traced
    signals.worker_process_shutdown.connect(_flush, dispatch_uid="nightshift.otel")
    signals.worker_shutdown.connect(_flush, dispatch_uid="nightshift.otel")


def uninstrument(app: Flask) -> None:
    """End what ``instrument`` began: export what is left, and report no more jobs of ``app``."""
    services = current(app)
    tracing, services.tracing = services.tracing, None
    services.celery.publisher_kind = JobPublisher
    services.celery.clear_derived_settings()
    if isinstance(tracing, Tracing):
        tracing.flush()
        _switched_on.discard(tracing)
    if not _switched_on:
        attempt.around = None


def _flush(**_: object) -> None:
    """Export what this process of a worker has reported."""
    for tracing in list(_switched_on):
        tracing.flush()


__all__ = ["instrument", "uninstrument"]
