"""A report that fails changes nothing of what becomes of a job."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from flask_nightshift.otel import tracing as tracing_module
from flask_nightshift.otel.convention import Place
from flask_nightshift.otel.processing import _run
from flask_nightshift.otel.sending import sending
from flask_nightshift.otel.tracing import TELL_SECONDS, Providers, Seldom, Tracing
from flask_nightshift.worker.attempt import Ended

REQUEST = {"id": "1", "task": "t", "retries": 0, "delivery_info": {"routing_key": "mail"}}


class Broken(SpanProcessor):
    def __init__(self, at: str) -> None:
        self.at, self.calls = at, 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._fail("start")

    def on_end(self, span: Any) -> None:
        self._fail("end")

    def _fail(self, at: str) -> None:
        self.calls += 1
        if at == self.at:
            raise OSError("no exporter")


def place() -> Place:
    return Place({})


def tracing_of(at: str) -> tuple[Tracing, Broken]:
    broken = Broken(at)
    provider = TracerProvider()
    provider.add_span_processor(broken)
    return Tracing(place(), lambda: Providers(provider), links=False), broken


@pytest.mark.parametrize("at", ["start", "end"])
def test_an_attempt_runs_once_and_ends_as_it_does(at: str) -> None:
    tracing, broken = tracing_of(at)
    made = tracing.instruments()
    assert made is not None
    runs, ended = [], (0, ("succeeded",), 0.1)

    def attempt() -> Ended:
        runs.append(1)
        return ended

    assert _run(tracing, made, attempt, REQUEST) is ended
    assert runs == [1]
    assert broken.calls


@pytest.mark.parametrize("at", ["start", "end"])
def test_an_error_of_the_attempt_is_the_one_that_is_raised(at: str) -> None:
    tracing, _ = tracing_of(at)
    made = tracing.instruments()
    assert made is not None

    def attempt() -> Ended:
        raise KeyError("of the job")

    with pytest.raises(KeyError):
        _run(tracing, made, attempt, REQUEST)


@pytest.mark.parametrize("at", ["start", "end"])
def test_a_job_is_sent(at: str) -> None:
    tracing, broken = tracing_of(at)
    sent = []
    with sending(tracing, "mail", REQUEST):
        sent.append(1)
    assert sent == [1]
    assert broken.calls


def test_providers_that_cannot_be_made_are_logged_and_jobs_go_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing_module, "_tells", Seldom(TELL_SECONDS))

    def providers() -> Providers:
        raise OSError("no certificate")

    tracing = Tracing(place(), providers, links=False)
    assert tracing.instruments() is None
    with sending(tracing, "mail", REQUEST) as send:
        assert send is None
    told = [record for record in caplog.records if record.message.startswith("otel.not_reported")]
    assert len(told) == 1, "two failed, and the log says so once"
    assert told[0].exc_info
